"""Muon for matrices, AdamW for the rest, behind one object whose state is a flat dictionary of tensors.

Muon: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). The size of its steps: J. Liu
et al., "Muon is scalable for LLM training" (Moonlight, arXiv:2502.16982). The polynomials: N. Amsel et al., "The Polar
Express" (arXiv:2505.16932).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8
RMS_OF_ADAM = 0.2  # root mean square of AdamW's typical step: Muon's steps are given the same size (Moonlight, eq. 4)

# Polar Express, algorithm 1, for four steps from singular values in [3e-3, 1], with the paper's cushion of 0.024: each
# odd quintic is the best one for the interval its predecessor leaves. All but the last are divided by 1.01^(1, 3, 5),
# the paper's guard against rounding.
_GUARD = 1.01
_POLYNOMIALS = [
    (8.219101105846395, -23.40195672053618, 17.15819894322091),
    (4.0048760591489705, -2.922346774508392, 0.5491185267263444),
    (3.5235614361928365, -2.6398035290594546, 0.5272128341911066),
    (2.5115271663527294, -1.852448356083006, 0.4388326355802107),
]
COEFFICIENTS = [(a / _GUARD, b / _GUARD**3, c / _GUARD**5) for a, b, c in _POLYNOMIALS[:-1]] + _POLYNOMIALS[-1:]


def orthogonalise(matrices: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    """The nearest (semi-)orthogonal matrices: U V^T of each U S V^T. Singular values come out in [0.78, 1.22] if they
    are above 3e-3 of the largest, smaller ones proportionally smaller.

    Newton-Schulz on the short side: X <- (a I + b G + c G^2) X with G = X X^T. Before it, X is divided by its Schatten
    8-norm, |G^2|^(1/4), which costs nothing and is much nearer to the largest singular value than the Frobenius norm:
    that saves one step of five. fp32 on a CPU, where bf16 without instructions of its own is a hundred times slower;
    bf16 on CUDA.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    gram = x @ x.mT
    square = gram @ gram
    norm = _GUARD * torch.linalg.matrix_norm(square, keepdim=True).clamp_min(1e-12) ** 0.25  # of zeros: any will do
    scaled = x / norm, gram / norm**2, square / norm**4
    x = _directly(*scaled) if x.is_cuda or 2 * x.size(-1) < 3 * x.size(-2) else _through_gram(*scaled)
    return (x.mT if tall else x).to(matrices.dtype)


def _directly(
    x: Float[Tensor, "batch m n"], gram: Float[Tensor, "batch m m"], square: Float[Tensor, "batch m m"]
) -> Float[Tensor, "batch m n"]:
    for step, (a, b, c) in enumerate(COEFFICIENTS):
        if step:
            gram = x @ x.mT
            square = gram @ gram
        x = torch.baddbmm(x, b * gram + c * square, x, beta=a)
    return x


def _through_gram(
    x: Float[Tensor, "batch m n"], gram: Float[Tensor, "batch m m"], square: Float[Tensor, "batch m m"]
) -> Float[Tensor, "batch m n"]:
    """The same steps, taken by the small Gram matrix alone: the long side is multiplied twice and not eight times.

    With R = a I + b G + c G^2, the step X <- R X makes G <- R G R; all are polynomials of the first G, so they commute.
    Squaring costs precision, which fp32 has to spare and bf16 has not.
    """
    product: Tensor | None = None
    for step, (a, b, c) in enumerate(COEFFICIENTS):
        if step:
            square = gram @ gram
        factor = b * gram + c * square
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step + 1 < len(COEFFICIENTS):
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x


class Optimizer:
    """Muon on every matrix between layers, AdamW on embeddings, norms, biases and what the objective keeps for it.

    An objective may declare `adamw_parameters()`: parameters, or their names, that are not maps between features
    (position tables, output heads, depthwise kernels). nn.Embedding is always AdamW's. Kernels of convolutions are
    matrices of out x (in * kernel). Decoupled weight decay falls on matrices only, embeddings excepted. A parameter
    that has no gradient in a step is left alone.
    """

    def __init__(
        self,
        objective: nn.Module,
        *,
        learning_rate: float,
        adam_learning_rate: float,
        weight_decay: float = 0.0,
        use_muon: bool = True,
    ) -> None:
        muon, adamw = split_parameters(objective)
        if not use_muon:
            muon, adamw = {}, {**muon, **adamw}
        self.learning_rate, self.adam_learning_rate, self.weight_decay = learning_rate, adam_learning_rate, weight_decay
        self.muon, self.adamw = muon, adamw
        self.momentum = {name: torch.zeros_like(weight) for name, weight in muon.items()}
        tables = _embedding_weights(objective)
        decays = [weight for weight in adamw.values() if weight.ndim >= 2 and id(weight) not in tables]
        rest = [weight for weight in adamw.values() if weight.ndim < 2 or id(weight) in tables]
        groups = [{"params": decays, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        self._adam = torch.optim.AdamW(groups, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True) if groups else None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update from the gradients in `.grad`; `scale` is the schedule's share of both learning rates."""
        if self._adam is not None:
            for group in self._adam.param_groups:
                group["lr"] = scale * self.adam_learning_rate
            self._adam.step()
        self._muon_step(scale * self.learning_rate)

    def _muon_step(self, rate: float) -> None:
        found = {name: weight.grad for name, weight in self.muon.items() if weight.grad is not None}
        if not found:
            return
        names, gradients = list(found), list(found.values())
        momenta = [self.momentum[name] for name in names]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov: a look one step ahead
        weights = [self.muon[name].detach() for name in names]
        torch._foreach_mul_(weights, 1 - rate * self.weight_decay)
        for where in _same_shape(directions):
            updates = orthogonalise(torch.stack([directions[i].flatten(1) for i in where]))
            size = RMS_OF_ADAM * max(updates.shape[1:]) ** 0.5
            chosen = [weights[i] for i in where]
            steps = [update.view_as(weight) for update, weight in zip(updates, chosen, strict=True)]
            torch._foreach_add_(chosen, steps, alpha=-rate * size)

    def zero_gradients(self) -> None:
        for weight in (*self.muon.values(), *self.adamw.values()):
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Flat and ready for safetensors: momentum.NAME, and for AdamW's first.NAME, second.NAME, steps.NAME."""
        tensors = {f"momentum.{name}": tensor for name, tensor in self.momentum.items()}
        for name, weight in self.adamw.items():
            if known := self._adam_state(weight):
                tensors |= {f"{ours}.{name}": known[theirs] for ours, theirs in _ADAM_NAMES.items()}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises: ValueError if the tensors are not those of these parameters under this choice of optimizer."""
        possible = {f"momentum.{name}": weight.shape for name, weight in self.muon.items()}
        for name, weight in self.adamw.items():
            possible |= {f"first.{name}": weight.shape, f"second.{name}": weight.shape, f"steps.{name}": torch.Size([])}
        strange = sorted(key for key, tensor in tensors.items() if possible.get(key) != tensor.shape)
        missing = sorted(key for key in possible if key.startswith("momentum.") and key not in tensors)
        if strange or missing:
            raise ValueError(
                f"the saved optimizer is not this one's: unknown {strange[:3]}, missing {missing[:3]}; "
                "resume with the optimizer and the network the run was started with, or start a new run"
            )
        for name, momentum in self.momentum.items():
            momentum.copy_(tensors[f"momentum.{name}"])
        for name, weight in self.adamw.items():
            if f"first.{name}" in tensors:
                assert self._adam is not None
                self._adam.state[weight] = {
                    "exp_avg": tensors[f"first.{name}"].to(weight, copy=True),
                    "exp_avg_sq": tensors[f"second.{name}"].to(weight, copy=True),
                    "step": tensors[f"steps.{name}"].to(weight.device, torch.float32, copy=True),
                }

    def _adam_state(self, weight: nn.Parameter) -> dict[str, Tensor]:
        return {} if self._adam is None else self._adam.state.get(weight, {})


_ADAM_NAMES = {"first": "exp_avg", "second": "exp_avg_sq", "steps": "step"}


def split_parameters(objective: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """(Muon's, AdamW's) trainable parameters by name. See `Optimizer` for the rule.

    Raises: ValueError if `adamw_parameters()` names what is not there.
    """
    trainable = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    kept = _embedding_weights(objective) | _declared(objective)
    muon = {name: weight for name, weight in trainable.items() if weight.ndim >= 2 and id(weight) not in kept}
    return muon, {name: weight for name, weight in trainable.items() if name not in muon}


def _embedding_weights(objective: nn.Module) -> set[int]:
    tables = (nn.Embedding, nn.EmbeddingBag)
    return {id(module.weight) for module in objective.modules() if isinstance(module, tables)}


def _declared(objective: nn.Module) -> set[int]:
    """Identities of what the objective keeps for AdamW."""
    declare = getattr(objective, "adamw_parameters", None)
    chosen: Iterable[str | Tensor] = declare() if declare is not None else ()
    by_name = dict(objective.named_parameters(remove_duplicate=False))
    kept = set()
    for item in chosen:
        if isinstance(item, str) and item not in by_name:
            raise ValueError(
                f"adamw_parameters() names {item!r}, which is none of the parameters: {sorted(by_name)[:8]} …"
            )
        kept.add(id(by_name[item]) if isinstance(item, str) else id(item))
    return kept


def _same_shape(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Places of the tensors that make equal matrices when flattened to two axes."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, tensor in enumerate(tensors):
        groups[tensor.size(0), tensor[0].numel()].append(place)
    return list(groups.values())
