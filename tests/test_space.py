import pytest
import torch
import torch.nn.functional as F

from kinetoken.space import SpaceBlock


@pytest.mark.parametrize("before", [(3,), (2, 3)])
def test_equals_norm_and_convolution_one_after_the_other(before: tuple[int, ...]) -> None:
    """Values, and gradients of what comes in and of every weight."""
    torch.manual_seed(0)
    block, x = SpaceBlock(8), torch.randn(*before, 5, 6, 8, requires_grad=True)
    torch.nn.init.normal_(block.norm.weight)
    images = block.norm(x).flatten(0, -4)
    plain = F.silu(block.space(images.permute(0, 3, 1, 2))).permute(0, 2, 3, 1).reshape(x.shape)
    torch.testing.assert_close(block.seen(x), plain, atol=1e-5, rtol=1e-5)
    leaves, above = (x, *block.parameters()), torch.randn_like(x)
    both = (torch.autograd.grad(of, leaves, above) for of in (block.seen(x), plain))
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(block.seen(x), plain, atol=1e-5, rtol=1e-5)
        block.norm.weight.mul_(2)  # what is kept of weights is not kept when they change
        assert (block.seen(x) - plain).abs().max() > 0.1
