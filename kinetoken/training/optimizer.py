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

from kinetoken.training.distributed import Group

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


def orthogonalise(
    matrices: Float[Tensor, "batch rows columns"], *, bfloat16: bool = False
) -> Float[Tensor, "batch rows columns"]:
    """The nearest (semi-)orthogonal matrices: U V^T of each U S V^T. Singular values come out in [0.78, 1.22] if they
    are above 3e-3 of the largest, smaller ones proportionally smaller.

    Newton-Schulz on the short side: X <- (a I + b G + c G^2) X with G = X X^T. Before it, X is divided by its Schatten
    8-norm, |G^2|^(1/4), which costs nothing and is much nearer to the largest singular value than the Frobenius norm:
    that saves one step of five. bfloat16 is for devices with instructions for it: elsewhere it is a hundred times
    slower.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if bfloat16 else x.float()
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    gram = x @ x.mT
    square = gram @ gram
    norm = _GUARD * torch.linalg.matrix_norm(square, keepdim=True).clamp_min(1e-12) ** 0.25  # of zeros: any will do
    scaled = x / norm, gram / norm**2, square / norm**4
    x = _directly(*scaled) if bfloat16 or 2 * x.size(-1) < 3 * x.size(-2) else _through_gram(*scaled)
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
        bfloat16: bool = False,
        group: Group | None = None,
    ) -> None:
        """bfloat16: whether Muon's matrix products are; its state is fp32. group: among whose processes Muon's work is
        parted; each has the same gradients."""
        muon, adamw = split_parameters(objective)
        if not use_muon:
            muon, adamw = {}, {**muon, **adamw}
        self.learning_rate, self.adam_learning_rate, self.weight_decay = learning_rate, adam_learning_rate, weight_decay
        self.muon, self.adamw, self.bfloat16, self.group = muon, adamw, bfloat16, group or Group()
        self.momentum = {name: torch.zeros_like(weight) for name, weight in muon.items()}
        self.first = {name: torch.zeros_like(weight) for name, weight in adamw.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in adamw.items()}
        self.steps = {name: weight.new_zeros((), dtype=torch.float32) for name, weight in adamw.items()}
        tables = _embedding_weights(objective)
        self._decaying = {name for name, weight in adamw.items() if weight.ndim >= 2 and id(weight) not in tables}

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update from the gradients in `.grad`; `scale` is the schedule's share of both learning rates."""
        found = [name for name, weight in self.adamw.items() if weight.grad is not None]
        rate = scale * self.adam_learning_rate
        self._adamw_step([name for name in found if name in self._decaying], rate, self.weight_decay)
        self._adamw_step([name for name in found if name not in self._decaying], rate, 0.0)
        self._muon_step(
            [name for name, weight in self.muon.items() if weight.grad is not None], scale * self.learning_rate
        )

    def _adamw_step(self, names: list[str], rate: float, decay: float) -> None:
        """Loshchilov and Hutter 2019, by the kernel of torch.optim.AdamW. The class itself takes two seconds to import
        a compiler that it does not use."""
        if not names:
            return
        steps = [self.steps[name] for name in names]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [self.adamw[name].detach() for name in names],
            _gradients(self.adamw, names),
            [self.first[name] for name in names],
            [self.second[name] for name in names],
            [],
            steps,
            lr=rate,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            weight_decay=decay,
            eps=ADAM_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _muon_step(self, names: list[str], rate: float) -> None:
        """Momentum with Nesterov's look ahead, made orthogonal: all matrices of a shape at once. Each process makes
        some and has the rest from the others (as in Moonlight, section 2.3)."""
        if not names:
            return
        gradients, momenta = _gradients(self.muon, names), [self.momentum[name] for name in names]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        directions = list(torch._foreach_lerp(gradients, momenta, MOMENTUM))
        weights = [self.muon[name].detach() for name in names]
        torch._foreach_mul_(weights, 1 - rate * self.weight_decay)
        owners = _parted([direction.flatten(1).shape for direction in directions], self.group.world)
        for where in _same_shape(directions, [owner == self.group.rank for owner in owners]):
            updates = orthogonalise(torch.stack([directions[i].flatten(1) for i in where]), bfloat16=self.bfloat16)
            size = RMS_OF_ADAM * max(updates.shape[1:]) ** 0.5
            for i, update in zip(where, updates, strict=True):
                directions[i] = update.mul_(size).view_as(weights[i])
        self.group.exchange(directions, owners)
        torch._foreach_add_(weights, directions, alpha=-rate)

    def zero_gradients(self) -> None:
        for weight in (*self.muon.values(), *self.adamw.values()):
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """The state itself, flat: momentum.NAME for Muon's, and first.NAME, second.NAME, steps.NAME for AdamW's."""
        parts = {"momentum": self.momentum, "first": self.first, "second": self.second, "steps": self.steps}
        return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises: ValueError if the tensors are not those of these parameters under this choice of optimizer."""
        own = self.state()
        strange = sorted(key for key, tensor in tensors.items() if key not in own or own[key].shape != tensor.shape)
        missing = sorted(own.keys() - tensors.keys())
        if strange or missing:
            raise ValueError(
                f"the saved optimizer is not this one's: unknown {strange[:3]}, missing {missing[:3]}; "
                "resume with the optimizer and the network the run was started with, or start a new run"
            )
        for key, tensor in own.items():
            tensor.copy_(tensors[key])


def _gradients(parameters: Mapping[str, nn.Parameter], names: Iterable[str]) -> list[Tensor]:
    found = [parameters[name].grad for name in names]
    return [gradient for gradient in found if gradient is not None]


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


def _same_shape(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> list[list[int]]:
    """Places of the wanted tensors that make equal matrices when flattened to two axes."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, tensor in enumerate(tensors):
        if wanted[place]:
            groups[tensor.size(0), tensor[0].numel()].append(place)
    return list(groups.values())


def _parted(shapes: Sequence[tuple[int, ...]], processes: int) -> list[int]:
    """Which process makes each matrix orthogonal: the dearest first, each is given to whoever has least to do."""
    work, owners = [0] * processes, [0] * len(shapes)
    price = [min(shape) ** 2 * (5 * min(shape) + max(shape)) for shape in shapes]
    for place in sorted(range(len(shapes)), key=lambda place: -price[place]):
        owners[place] = work.index(min(work))
        work[owners[place]] += price[place]
    return owners
