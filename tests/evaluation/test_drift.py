from dataclasses import replace

import pytest

from kinetoken.evaluation import generation
from kinetoken.evaluation.generation import ENDLESS, drift, sample_scene, summary
from kinetoken.generator import Generator
from kinetoken.long_video import Stretch


def test_drift_judges_each_window_by_itself(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that shows what was asked for, and then another scene, is right at first and wrong at last."""
    scenes = (sample_scene(seed, actors=1, split="held-out") for seed in range(2**40, 2**41))
    asked, other = (next(scene for scene in scenes if scene.actors[0].motion in ENDLESS) for _ in range(2))

    def truth_then_another(text: str, *, frames: int, seed: int) -> list[Stretch]:
        clips = generation.render(asked), generation.render(other)
        return [Stretch(clip, None, 0, frames, 0) for clip in clips]  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "WINDOWS", 2)
    fake = Generator(replace(tiny.config, frames=17), tiny.tokenizer, tiny.codec, tiny.network)
    monkeypatch.setattr(fake, "stream_long", truth_then_another)
    windows = summary(list(drift(fake, count=1)))["by_attribute"]
    assert list(windows) == ["window 1", "window 2"]
    assert windows["window 1"] == 1 > windows["window 2"]
