from dataclasses import replace

import numpy as np
import pytest

from kinetoken.clip import Clip
from kinetoken.data.toybox import Actor, Background, Camera, Colour, Motion, Scene, Shape, Speed, Texture, render
from kinetoken.evaluation import generation
from kinetoken.evaluation.generation import ENDLESS, drift, sample_scene, summary
from kinetoken.evaluation.judge import judge
from kinetoken.generator import Generator
from kinetoken.long_video import Stretch


def test_drift_judges_each_window_by_itself(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that shows what was asked for, and then another scene, is right at first and wrong at last."""
    scenes = (sample_scene(seed, actors=1, split="held-out") for seed in range(2**40, 2**41))
    lasting = (scene for scene in scenes if scene.actors[0].motion in ENDLESS and scene.camera == Camera.STILL)
    asked, other = (next(lasting) for _ in range(2))

    def truth_then_another(text: str, *, frames: int, seed: int) -> list[Stretch]:
        clips = generation.render(asked), generation.render(other)
        return [Stretch(clip, None, 0, frames, 0) for clip in clips]  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "WINDOWS", 2)
    fake = Generator(replace(tiny.config, frames=17), tiny.tokenizer, tiny.codec, tiny.network)
    monkeypatch.setattr(fake, "stream_long", truth_then_another)
    windows = summary(list(drift(fake, count=1)))["by_attribute"]
    assert list(windows) == ["window 1", "window 2"]
    assert windows["window 1"] == 1 > windows["window 2"]


@pytest.mark.parametrize("motion", [Motion.SPINS, Motion.BLINKS])
@pytest.mark.parametrize("speed", Speed)
def test_what_is_in_full_swing_is_told_from_what_stands(motion: Motion, speed: Speed) -> None:
    """Of every stretch of a long clip, wherever it begins; and a clip in which nothing happens shows no motion."""
    star = Actor(shape=Shape.STAR, colour=Colour.YELLOW, motion=motion, speed=speed, texture=Texture.STRIPED)
    scene = Scene(actors=(star,), background=Background())
    long = render(scene, frames=17 * 6).frames
    for start in range(5, len(long) - 17, 13):
        assert judge(Clip(frames=long[start : start + 17], fps=8.0), scene, midway=True).right()
    still = Clip(frames=np.repeat(long[:1], 17, axis=0), fps=8.0)
    assert not judge(still, scene, midway=True).shown["actors.0.motion"]
