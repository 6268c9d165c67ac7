import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinetoken.through_time import plus_through_time


def _plain(x: torch.Tensor, linear: nn.Linear, layers: torch.Tensor, *seen: list[int]) -> torch.Tensor:
    return x + linear(torch.cat([layers[:, which] for which in seen], dim=-1))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_equals_what_is_laid_side_by_side_with_its_gradients(data: st.DataObject) -> None:
    """Whichever layers are seen, in runs or at random, once or often."""
    batch, time, all_time, shares = (data.draw(st.integers(1, most)) for most in (3, 4, 5, 3))
    one = st.lists(st.integers(0, all_time - 1), min_size=time, max_size=time)
    seen = [data.draw(one) for _ in range(shares)]
    torch.manual_seed(time)
    x, layers = torch.randn(batch, time, 2, 3, 4), torch.randn(batch, all_time, 2, 3, 5)
    linear = nn.Linear(5 * shares, 4)
    leaves = (x.requires_grad_(), layers.requires_grad_(), linear.weight, linear.bias)
    ours, plain = plus_through_time(x, linear, layers, *seen), _plain(x, linear, layers, *seen)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    above = torch.randn_like(x)
    for mine, reference in zip(
        torch.autograd.grad(ours, leaves, above), torch.autograd.grad(plain, leaves, above), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lies", ["in one piece", "otherwise"])
def test_without_gradients_it_is_the_same_sum_however_things_lie(lies: str) -> None:
    """In place: not in a copy that is lost where x lies otherwise."""
    torch.manual_seed(0)
    x, layers = (torch.randn(2, 3, channels, 2, 3).permute(0, 1, 3, 4, 2) for channels in (4, 5))
    if lies == "in one piece":
        x, layers = x.contiguous(), layers.contiguous()
    before, linear, now = x.clone(), nn.Linear(10, 4), [0, 1, 2]
    graded = plus_through_time(x, linear, layers, [0, 0, 1], now)
    assert torch.equal(x, before)
    with torch.no_grad():
        torch.testing.assert_close(plus_through_time(x, linear, layers, [0, 0, 1], now), graded)


def test_in_mixed_precision_the_sum_stays_whole() -> None:
    x, layers, linear = torch.randn(1, 2, 2, 2, 8), torch.randn(1, 2, 2, 2, 8), nn.Linear(16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = plus_through_time(x, linear, layers.bfloat16(), [0, 0], [0, 1])
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, _plain(x, linear, layers, [0, 0], [0, 1]), atol=0.05, rtol=0.05)
