"""How far the judge can be trusted: measured on rendered truth."""

from collections import defaultdict
from collections.abc import Iterable

from kinetoken.data.toybox import Scene, render, sample_scene
from kinetoken.evaluation.judge import judge
from kinetoken.evaluation.judge_changes import change_one_attribute, kind_of


def judge_report(count: int, first_seed: int = 0) -> dict[str, float]:
    """Agreement and rejection over `count` scenes, every other one from the held-out split; see `agreement`."""
    seeds = range(first_seed, first_seed + count)
    return agreement(sample_scene(seed, split="held-out" if seed % 2 else "train") for seed in seeds)


def agreement(scenes: Iterable[Scene]) -> dict[str, float]:
    """Shares of 1, of all and by kind of attribute ("agreement", "rejection", "agreement.colour" ...).

    agreement: of rendered scenes, those of which every attribute of the true description is found to be shown; by
    kind, of the attributes of that kind. rejection: of descriptions with one attribute changed, one for every scene,
    those of which the changed attribute is found not to be shown.
    """
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for index, scene in enumerate(scenes):
        clip = render(scene)
        verdict = judge(clip, scene)
        outcomes["agreement"].append(verdict.right())
        for path, shown in verdict.shown.items():
            outcomes[f"agreement.{kind_of(path)}"].append(shown)
        changed, path = change_one_attribute(scene, index)
        rejected = not judge(clip, changed).shown[path]
        outcomes["rejection"].append(rejected)
        outcomes[f"rejection.{kind_of(path)}"].append(rejected)
    return {name: sum(values) / len(values) for name, values in sorted(outcomes.items())}
