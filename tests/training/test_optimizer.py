import pytest
import torch
from torch import nn

from kinetoken.training import optimizer as module
from kinetoken.training.optimizer import Optimizer, _parted, orthogonalise, split_parameters
from tests.training.toy import Toy

SHAPES = [(1, 1), (3, 5), (64, 64), (96, 32), (32, 96), (40, 50)]


def matrix(rows: int, columns: int, smallest: float = 0.01) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix of known singular vectors, with singular values from 1 down to `smallest`: (matrix, U, V)."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    rank = min(rows, columns)
    left, _ = torch.linalg.qr(torch.randn(rows, rank, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, rank, generator=generator, dtype=torch.float64))
    values = torch.logspace(0, float(torch.tensor(smallest).log10()), rank, dtype=torch.float64)
    return (left * values @ right.T).float(), left, right


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalise_keeps_singular_vectors_and_makes_their_values_one(shape: tuple[int, int]) -> None:
    given, left, right = matrix(*shape)
    found = left.T @ orthogonalise(given[None])[0].double() @ right
    values = found.diagonal()
    assert values.min() > 0.77 and values.max() < 1.23
    assert (found - values.diag()).abs().max() < 2e-3


def test_orthogonalise_in_bfloat16_is_near() -> None:
    given, left, right = matrix(24, 48)
    values = (left.T @ orthogonalise(given[None], bfloat16=True)[0].double() @ right).diagonal()
    assert values[:-4].min() > 0.6 and values.max() < 1.4  # of the smallest, rounding leaves less


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_orthogonalise_does_not_depend_on_scale_or_company(scale: float) -> None:
    one, other = matrix(24, 48)[0], torch.randn(24, 48, generator=torch.Generator().manual_seed(1))
    alone, together = orthogonalise(one[None]), orthogonalise(torch.stack([scale * one, other]))
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=0)


def test_orthogonalise_of_zero_is_zero() -> None:
    assert orthogonalise(torch.zeros(2, 8, 8)).abs().max() == 0


def test_the_gram_path_takes_the_same_steps_as_the_plain_one() -> None:
    given = matrix(32, 96)[0][None]
    gram = given @ given.mT
    norm = torch.linalg.matrix_norm(gram @ gram) ** 0.25
    scaled = given / norm, gram / norm**2, gram @ gram / norm**4
    torch.testing.assert_close(module._through_gram(*scaled), module._directly(*scaled), atol=1e-3, rtol=0)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 8)
        self.position = nn.Parameter(torch.zeros(4, 8))
        self.norm = nn.LayerNorm(8)
        self.kernel = nn.Conv3d(4, 8, 3)
        self.linear = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)

    def adamw_parameters(self) -> list[str | nn.Parameter]:
        return ["position", self.head.weight]


def test_muon_gets_the_matrices_between_features() -> None:
    muon, adamw = split_parameters(Mixed())
    assert set(muon) == {"kernel.weight", "linear.weight"}
    biases = {"norm.bias", "kernel.bias", "linear.bias", "head.bias"}
    assert set(adamw) == {"table.weight", "position", "norm.weight", "head.weight"} | biases


def test_a_name_that_is_not_there_is_an_error() -> None:
    mixed = Mixed()
    mixed.adamw_parameters = lambda: ["heads.weight"]  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"heads\.weight"):
        split_parameters(mixed)


def with_gradients(toy: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for weight in toy.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    return toy


def test_a_muon_step_has_the_size_of_an_adamw_step() -> None:
    mixed = with_gradients(Mixed())
    before = {name: weight.detach().clone() for name, weight in mixed.named_parameters()}
    Optimizer(mixed, learning_rate=0.01, adam_learning_rate=0.01).step(0.5)
    for name in ("kernel.weight", "linear.weight"):
        moved = mixed.get_parameter(name).detach() - before[name]
        assert moved.square().mean().sqrt() == pytest.approx(0.2 * 0.01 * 0.5, rel=0.25)


def test_muon_follows_its_definition_over_steps() -> None:
    linear = nn.Linear(8, 8, bias=False)
    plain, momentum = linear.weight.detach().clone(), torch.zeros(8, 8)
    optimizer = Optimizer(linear, learning_rate=0.1, adam_learning_rate=1.0, weight_decay=0.3)
    for step in range(3):
        with_gradients(linear, seed=step)
        assert linear.weight.grad is not None
        momentum = 0.95 * momentum + 0.05 * linear.weight.grad
        direction = orthogonalise((0.05 * linear.weight.grad + 0.95 * momentum)[None])[0]
        plain = (1 - 0.1 * 0.3) * plain - 0.1 * 0.2 * 8**0.5 * direction
        optimizer.step(1.0)
    torch.testing.assert_close(linear.weight.detach(), plain, atol=1e-4, rtol=0)


def test_muons_work_is_parted_evenly_and_all_of_it() -> None:
    shapes = [(256, 256)] * 5 + [(64, 576)] * 6 + [(1408, 256)]
    owners = _parted(shapes, 3)
    price = [min(shape) ** 2 * (5 * min(shape) + max(shape)) for shape in shapes]
    work = [sum(p for p, owner in zip(price, owners, strict=True) if owner == rank) for rank in range(3)]
    assert sum(work) == sum(price) and max(work) - min(work) <= max(price)
    assert _parted(shapes, 1) == [0] * len(shapes)


def test_without_muon_it_is_adamw_with_decay_on_matrices() -> None:
    ours, theirs = with_gradients(nn.Linear(8, 8)), with_gradients(nn.Linear(8, 8))
    theirs.load_state_dict(ours.state_dict())
    Optimizer(ours, learning_rate=1.0, adam_learning_rate=0.01, weight_decay=0.1, use_muon=False).step(1.0)
    groups = [{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1).step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    mixed = with_gradients(Mixed())
    mixed.linear.weight.grad = mixed.table.weight.grad = None
    before = mixed.linear.weight.detach().clone(), mixed.table.weight.detach().clone()
    optimizer = Optimizer(mixed, learning_rate=0.1, adam_learning_rate=0.1, weight_decay=0.1)
    optimizer.step(1.0)
    assert torch.equal(mixed.linear.weight, before[0]) and torch.equal(mixed.table.weight, before[1])
    assert optimizer.state()["steps.table.weight"] == 0


def test_state_of_another_optimizer_is_refused() -> None:
    muon = Optimizer(with_gradients(Toy()), learning_rate=0.1, adam_learning_rate=0.1)
    muon.step(1.0)
    with pytest.raises(ValueError, match="optimizer"):
        Optimizer(Toy(), learning_rate=0.1, adam_learning_rate=0.1, use_muon=False).load_state(muon.state())
