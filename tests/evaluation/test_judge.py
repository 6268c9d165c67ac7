"""The judge agrees with rendered truth, and rejects descriptions with one attribute changed."""

import pytest

from kinetoken.data.toybox import GRAVITY, Actor, Colour, Motion, Scene, Shape, render, sample_scene
from kinetoken.evaluation.judge import change_one_attribute, fit_gravity, judge
from kinetoken.evaluation.judge_report import judge_report


def test_agreement_and_rejection():
    report = judge_report(300)
    for name, share in report.items():
        print(f"{name:24} {share:.4f}")
    assert report["agreement"] >= 0.99
    assert report["rejection"] >= 0.97


def test_gravity_is_measured():
    ball = Actor(shape=Shape.BALL, colour=Colour.RED, motion=Motion.BOUNCES, y=0.8)
    assert fit_gravity(render(Scene(actors=(ball,))), Scene(actors=(ball,))) == pytest.approx(GRAVITY, rel=0.05)


def test_a_changed_description_differs_in_what_it_says():
    scene = sample_scene(3)
    changed, path = change_one_attribute(scene, 0)
    assert changed != scene
    assert path in judge(render(scene), changed).shown
