import pytest
import torch
import torch.nn.functional as F

from kinetoken.processes.cross_entropy import PLACES_AT_ONCE, linear_cross_entropy


@pytest.mark.parametrize("places", [0, 1, 7, 2 * PLACES_AT_ONCE + 3])
def test_equals_logits_and_cross_entropy_with_their_gradients(places):
    torch.manual_seed(0)
    features, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((places, 12), (30, 12), (30,)))
    answers, shares = torch.randint(0, 30, (places,)), torch.rand(places)
    fused = linear_cross_entropy(features, weight, bias, answers, shares)
    plain = (shares * F.cross_entropy(F.linear(features, weight, bias), answers, reduction="none")).sum()
    torch.testing.assert_close(fused, plain)
    ours, theirs = (torch.autograd.grad(3 * loss, (features, weight, bias)) for loss in (fused, plain))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_is_near():
    torch.manual_seed(0)
    features, weight, bias = torch.randn(500, 32), torch.randn(40, 32) / 6, torch.randn(40)
    answers, shares = torch.randint(0, 40, (500,)), torch.rand(500)
    with torch.autocast("cpu", torch.bfloat16):
        half = linear_cross_entropy(features, weight, bias, answers, shares)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, linear_cross_entropy(features, weight, bias, answers, shares), rtol=5e-3, atol=0.0)
