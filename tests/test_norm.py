import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.norm import EPSILON, RMSNorm, normalised


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 70), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.floats(1e-4, 1e4))
def test_equals_torchs_own_with_its_gradients(channels, places, size):
    torch.manual_seed(channels)
    x = (size * torch.randn(*places, channels)).requires_grad_()
    norm = RMSNorm(channels)
    torch.nn.init.normal_(norm.weight)
    mine, plain = norm(x), F.rms_norm(x, (channels,), norm.weight, EPSILON)
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)
    above = torch.randn_like(x)
    mine_gradients = torch.autograd.grad(mine, (x, norm.weight), above)
    plain_gradients = torch.autograd.grad(plain, (x, norm.weight), above)
    largest = [float(gradient.abs().max()) for gradient in plain_gradients]
    for ours, theirs, scale in zip(mine_gradients, plain_gradients, largest, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * max(scale, 1e-6) + 1e-7)


def test_two_at_once_are_normalised_as_each_would_be():
    """Queries and keys, each by weights of its own, with gradients."""
    torch.manual_seed(0)
    both, weights = torch.randn(2, 3, 4, 5, 8, requires_grad=True), torch.randn(2, 1, 1, 1, 8, requires_grad=True)
    at_once = normalised(both, weights)
    pairs = zip(both, weights, strict=True)
    apart = torch.stack([F.rms_norm(x, (8,), weight.flatten(), EPSILON) for x, weight in pairs])
    torch.testing.assert_close(at_once, apart)
    with torch.no_grad():
        torch.testing.assert_close(normalised(both, weights), apart)
    above = torch.randn_like(both)
    found = (torch.autograd.grad(of, (both, weights), above) for of in (at_once, apart))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_without_weights_it_is_as_with_ones():
    x = torch.randn(3, 4, 8, requires_grad=True)
    plain, above = F.rms_norm(x, (8,), None, EPSILON), torch.randn(3, 4, 8)
    torch.testing.assert_close(normalised(x), plain)
    (ours,), (theirs,) = (torch.autograd.grad(of, x, above) for of in (normalised(x), plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(normalised(x), plain)


def test_half_precision_in_and_out():
    x, norm = torch.randn(5, 64).bfloat16(), RMSNorm(64)
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x).float(), norm(x.float()), rtol=0.02, atol=0.02)
