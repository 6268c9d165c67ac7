import pytest
import torch
from torch import nn

from kinetoken.training.weight_average import WeightAverage


def set_to(linear: nn.Linear, value: float) -> None:
    with torch.no_grad():
        linear.weight.fill_(value)


def test_the_average_is_exponential_with_a_decay_that_warms_up() -> None:
    linear = nn.Linear(2, 2, bias=False)
    set_to(linear, 0.0)
    average, expected = WeightAverage(linear, 0.3), 0.0
    for step, value in enumerate((1.0, 5.0, -2.0, 3.0, 3.0)):
        set_to(linear, value)
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.tensors["weight"].unique().tolist() == pytest.approx([expected])


def test_swapping_in_is_undone_bit_for_bit_even_after_an_error() -> None:
    linear = nn.Linear(4, 4)
    average = WeightAverage(linear, 0.9)
    mean, own = average.tensors["weight"].clone(), torch.randn(4, 4)
    linear.weight.data.copy_(own)
    with pytest.raises(KeyError), average.swapped_in():
        assert torch.equal(linear.weight, mean)
        raise KeyError
    assert torch.equal(linear.weight, own) and torch.equal(average.tensors["weight"], mean)


def test_frozen_weights_are_not_averaged() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    assert set(WeightAverage(network, 0.9).tensors) == {"0.weight", "0.bias"}
