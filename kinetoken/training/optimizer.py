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

# Polar Express, algorithm 1 and its table for singular values in [1e-3, 1]. Each polynomial is the best odd quintic
# for the interval its predecessor leaves; all but the last are divided by 1.01^(1, 3, 5), a guard against rounding.
_GUARD = 1.01
_POLYNOMIALS = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
]
COEFFICIENTS = [(a / _GUARD, b / _GUARD**3, c / _GUARD**5) for a, b, c in _POLYNOMIALS[:-1]] + _POLYNOMIALS[-1:]


def orthogonalise(matrices: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    """The nearest (semi-)orthogonal matrices: U V^T of each U S V^T, singular values near 1 where S > 1e-3 of its norm.

    Newton-Schulz: X <- (a I + b G + c G^2) X with G = X X^T, on the short side. fp32 on a CPU, where bf16 without
    instructions of its own is a hundred times slower; bf16 on CUDA.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) * _GUARD + 1e-7)
    x = _through_gram(x) if not x.is_cuda and x.size(-1) >= 2 * x.size(-2) else _directly(x)
    return (x.mT if tall else x).to(matrices.dtype)


def _directly(x: Float[Tensor, "batch short long"]) -> Float[Tensor, "batch short long"]:
    for a, b, c in COEFFICIENTS:
        x = torch.baddbmm(x, _quadratic(x @ x.mT, b, c), x, beta=a)
    return x


def _through_gram(x: Float[Tensor, "batch short long"]) -> Float[Tensor, "batch short long"]:
    """The same five steps, taken by the small Gram matrix alone: the long side is multiplied twice and not ten times.

    With R = a I + b G + c G^2, the step X <- R X makes G <- R G R; all are polynomials of the first G, so they commute.
    Squaring costs precision, which fp32 has to spare and bf16 has not.
    """
    gram = x @ x.mT
    product = None
    for step, (a, b, c) in enumerate(COEFFICIENTS):
        polynomial = _quadratic(gram, b, c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if step + 1 < len(COEFFICIENTS):
            gram = polynomial @ gram @ polynomial
    assert product is not None
    return product @ x


def _quadratic(gram: Float[Tensor, "batch n n"], b: float, c: float) -> Float[Tensor, "batch n n"]:
    """b G + c G^2."""
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c)


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
        names = [name for name, weight in self.muon.items() if weight.grad is not None]
        if not names:
            return
        gradients = [self.muon[name].grad for name in names]
        momenta = [self.momentum[name] for name in names]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov: a look one step ahead
        weights = [self.muon[name].detach() for name in names]
        torch._foreach_mul_(weights, 1 - rate * self.weight_decay)
        for where in _same_shape(directions):
            updates = orthogonalise(torch.stack([directions[i].flatten(1) for i in where]))
            size = RMS_OF_ADAM * max(updates.shape[1:]) ** 0.5
            chosen = [weights[i] for i in where]
            torch._foreach_add_(
                chosen, [u.view_as(w) for u, w in zip(updates, chosen, strict=True)], alpha=-rate * size
            )

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
                f"the saved optimizer is not this one's: found {strange[:3] or 'nothing strange'}, missing {missing[:3] or 'nothing'}; "
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
