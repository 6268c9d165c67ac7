import os

import pytest
import torch

from kinetoken.generator import Generator
from kinetoken.side_by_side import side_by_side

CPU = torch.device("cpu")


def test_all_are_made_in_order_whoever_makes_them() -> None:
    made = list(side_by_side(lambda number: (number, os.getpid()), 20, CPU))
    assert [number for number, _ in made] == list(range(20))
    assert list(side_by_side(lambda number: number, 0, CPU)) == []


def test_a_mistake_comes_through_as_it_was() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise ValueError("not the third")
        return number

    several = side_by_side(make, 6, CPU)
    assert [next(several) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^not the third$"):
        next(several)


def test_clips_are_those_that_are_made_one_by_one(tiny: Generator) -> None:
    prompts, seeds = ["a red ball", "a blue star", "a ring", "a red ball"], [3, 4, 5, 3]
    each = list(tiny.generate_each(prompts, seeds=seeds, steps=2))
    for clip, prompt, seed in zip(each, prompts, seeds, strict=True):
        assert (clip.frames == tiny.generate(prompt, seed=seed, steps=2).frames).all()
    with pytest.raises(ValueError, match="4 prompts"):
        tiny.generate_each(prompts, seeds=[1])
    with pytest.raises(ValueError, match="empty"):
        list(tiny.generate_each(["a ball", ""], seeds=[1, 2]))
