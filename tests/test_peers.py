import json

import pytest
import torch

from benchmarks.autoregression import CausalDecoder
from benchmarks.matching import nearest
from benchmarks.measuring import Cannot, Spread, alternate, number, ratios, told, told_ratio
from benchmarks.report import Findings, Table, between_markers, keep
from benchmarks.sections.cold import seconds_by_package
from benchmarks.sections.training import toybox_batch
from benchmarks.setting import parameters_of
from benchmarks.timed_training import rate_scale
from kinetoken.generator import Generator
from kinetoken.processes.masked import MaskedObjective
from kinetoken.processes.masking import MaskingConfig
from kinetoken.transformer import TransformerConfig

MACHINE = {
    "date": "2026-01-01", "processor": "an abacus", "cores": 2, "memory_gb": 1, "threads": 2, "gflops_fp32": 1,
    "gflops_bf16": None, "python": "3.11", "versions": {"kinetoken": "0.1.0"},
}  # fmt: skip


def test_nearest_finds_the_width_on_either_side_and_stops_once_past_it():
    asked = []

    def count(width: int) -> int:
        asked.append(width)
        return width**2

    assert nearest(101, range(1, 100), count, tolerance=0.05) == (10, 100)
    assert max(asked) == 11
    assert nearest(120, range(1, 100), count, tolerance=0.05) == (11, 121)


def test_nearest_refuses_what_is_not_near():
    with pytest.raises(ValueError, match="within 5%"):
        nearest(110, range(1, 100), lambda width: width**2, tolerance=0.05)


def test_a_spread_is_the_median_between_the_extremes():
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
    assert Spread.of([1.5, 123.4]).text(" s") == "62.5 s (1.50–123)" and number(12.34) == "12.3"


def test_ratios_are_taken_pair_by_pair():
    slowing = [1.0, 2.0, 4.0]
    assert ratios([3 * value for value in slowing], slowing) == [3.0, 3.0, 3.0]
    assert told_ratio([3.0, 6.0, 12.0], slowing) == "3.00× (3.00–3.00)"
    assert told_ratio("cannot: it", slowing) == "—"


def test_systems_take_turns_and_one_that_cannot_is_left_out():
    calls = []

    def works() -> float:
        calls.append("works")
        return 1.0

    def fails() -> float:
        calls.append("fails")
        raise Cannot("RuntimeError: too large")

    found = alternate({"a": works, "b": fails}, rounds=2)
    assert found == {"a": [1.0, 1.0], "b": "cannot: RuntimeError: too large"}
    assert calls == ["works", "fails", "works", "works"]
    assert told(found["b"], " s") == found["b"] and told(found["a"], " s") == "1.00 s (1.00–1.00)"


def test_between_markers_leaves_the_prose():
    page = "before\n<!-- one -->\nold\n<!-- /one -->\nbetween\n<!-- two -->\n<!-- /two -->\nafter\n"
    once = between_markers(page, "one", "new")
    assert once == page.replace("old", "new")
    assert between_markers(once, "one", "new") == once
    with pytest.raises(ValueError, match="<!-- three -->"):
        between_markers(page, "three", "new")


def test_a_section_is_kept_beside_the_others(tmp_path):
    path, table = tmp_path / "performance.json", Table(["system", "a|b"], [["we", "1"]])
    keep(path, "training", Findings([table], ["a note"], {"seconds": [1.0]}, MACHINE))
    kept = keep(path, "cold", Findings([], [], {}, MACHINE))
    assert list(kept) == list(json.loads(path.read_text())) == ["training", "cold"]
    text = kept["training"].markdown("pictures/it.png")
    assert text.startswith("| system | a\\|b |\n| --- | --- |\n| we | 1 |\n\n- a note\n\n![it](pictures/it.png)")
    assert "an abacus" in text and "bfloat16" not in text and "smoke" not in text


def test_import_times_are_summed_by_top_package():
    report = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch._C
import time:      2000 |       2100 | torch
import time:        50 |         50 | json
a line of something else"""
    assert seconds_by_package(report) == {"torch": 0.0021, "json": 0.00005}


def test_the_learning_rate_goes_up_stays_and_comes_down():
    scales = [rate_scale(share) for share in (0.0, 0.01, 0.3, 0.75, 1.0, 1.1)]
    assert scales == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]


def test_kept_keys_and_values_change_nothing():
    config = TransformerConfig(text_codes=30, visual_codes=20, depth=2, width_per_layer=32)
    decoder = CausalDecoder(config, positions=6).eval()
    ids = torch.randint(config.vocabulary.size, (2, 6))
    with torch.inference_mode():
        at_once = decoder(ids, decoder.empty_cache(2), past=0)
        cache = decoder.empty_cache(2)
        decoder(ids[:, :3], cache, past=0)
        for place in range(3, 6):
            one_by_one = decoder(ids[:, place : place + 1], cache, past=place)
    torch.testing.assert_close(one_by_one, at_once)


def test_a_training_step_is_measured_on_scenes_with_their_layouts(tiny_mosaic: Generator) -> None:
    batch = toybox_batch(tiny_mosaic, clips=3, words=8)
    assert batch.text.shape == (3, 8) and batch.grid.shape == (3, 2, 8, 8) and (batch.layout[:, :, 0, 0] > 0).all()
    loss, parts = MaskedObjective(tiny_mosaic.network, MaskingConfig())(batch)
    assert loss.isfinite() and parts["thing_loss"] > 0


def test_parts_that_make_no_clip_are_not_counted(tiny_mosaic: Generator) -> None:
    network = tiny_mosaic.network
    aside = sum(weight.numel() for part in (network.reader, network.telling) for weight in part.parameters())
    assert parameters_of(network) == sum(weight.numel() for weight in network.parameters()) - aside
