from dataclasses import replace

import pytest

from kinetoken.data.toybox import Colour, captions, sample_scene
from kinetoken.evaluation.captions import caption_verdict, read_caption


def test_every_caption_of_every_style_is_read_back() -> None:
    """What a caption states, and nothing else, is found in it, and found true."""
    for seed in range(150):
        scene = sample_scene(seed)
        for caption in captions(scene, seed):
            verdict = caption_verdict(caption.text, scene)
            right = {path for path, found in verdict.items() if found}
            assert right == set(caption.stated), (caption.text, right ^ set(caption.stated))


def test_one_wrong_word_is_one_wrong_attribute() -> None:
    for seed in range(60):
        scene = sample_scene(seed, actors=1)
        colour = next(colour for colour in Colour if colour != scene.actors[0].colour)
        other = replace(scene, actors=(replace(scene.actors[0], colour=colour),))
        verdict = caption_verdict(captions(scene, seed)[1].text, other)
        assert [path for path, right in verdict.items() if not right] == ["actors.0.colour"]


@pytest.mark.parametrize("text", ["", "nothing at all", "and and while", "the camera the camera", "on a red"])
def test_nonsense_is_read_as_saying_little(text: str) -> None:
    assert len(read_caption(text).actors) <= 1
