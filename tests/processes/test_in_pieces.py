import pytest
import torch
import torch.nn.functional as F

from kinetoken.processes.in_pieces import PLACES_AT_ONCE, summed


def _cost(features, answers, shares, weight, bias):
    logits = F.linear(F.silu(features), weight, bias).float()
    return shares @ F.cross_entropy(logits, answers, reduction="none")


def _given(places):
    torch.manual_seed(0)
    features, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((places, 12), (30, 12), (30,)))
    return (features, torch.randint(0, 30, (places,)), torch.rand(places)), (weight, bias)


@pytest.mark.parametrize("places", [0, 1, 7, 2 * PLACES_AT_ONCE + 3])
def test_equals_the_cost_at_once_with_its_gradients(places):
    of_places, weights = _given(places)
    pieces, whole = summed(_cost, of_places, weights), _cost(*of_places, *weights)
    torch.testing.assert_close(pieces, whole)
    ours, theirs = (torch.autograd.grad(3 * cost, (of_places[0], *weights)) for cost in (pieces, whole))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(summed(_cost, of_places, weights), whole)


def test_under_autocast_it_is_near():
    of_places, weights = _given(2 * PLACES_AT_ONCE)
    with torch.autocast("cpu", torch.bfloat16):
        half = summed(_cost, of_places, weights)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, summed(_cost, of_places, weights), rtol=5e-3, atol=0.0)
