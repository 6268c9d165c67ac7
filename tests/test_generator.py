import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kinetoken.clip import Clip
from kinetoken.generator import Generator, _nearest_known

PROMPT = "a red ball bounces"


def test_stream_yields_a_growing_clip_and_generate_is_its_end(tiny: Generator) -> None:
    steps = list(tiny.stream(PROMPT, seed=3, steps=4))
    known = [int((step.codes >= 0).sum()) for step in steps]
    assert known == sorted(set(known)) and known[-1] == steps[-1].codes.numel()
    assert all(step.clip.frames.shape == (5, 32, 32, 3) for step in steps)
    assert (tiny.generate(PROMPT, seed=3, steps=4).frames == steps[-1].clip.frames).all()


@pytest.mark.parametrize(("frames", "size"), [(1, (32, 32)), (2, (33, 17)), (9, (1, 70)), (18, (16, 48))])
def test_exactly_the_size_and_length_that_was_asked_for(tiny: Generator, frames: int, size: tuple[int, int]) -> None:
    clip = tiny.generate(PROMPT, seed=0, frames=frames, size=size, steps=2, fps=12.0)
    assert (len(clip.frames), clip.width, clip.height, clip.fps) == (frames, *size, 12.0)


@pytest.mark.parametrize(("frames", "size"), [(1, (32, 32)), (2, (33, 17)), (9, (1, 70)), (6, (20, 44))])
def test_so_it_is_with_codes_in_squares(tiny_mosaic: Generator, frames: int, size: tuple[int, int]) -> None:
    *_, last = tiny_mosaic.stream(PROMPT, seed=0, frames=frames, size=size, steps=2)
    assert last.codes.shape[1] % 4 == last.codes.shape[2] % 4 == 0
    assert (len(last.clip.frames), last.clip.width, last.clip.height) == (frames, *size)


def test_unknown_cells_take_the_code_of_the_nearest_that_has_their_place_in_a_square() -> None:
    codes, square = torch.full((1, 4, 6), -1), torch.tensor([[1, 2], [3, 4]])
    codes[0, 2:, 2:4] = square
    assert (_nearest_known(codes, codes >= 0, 2)[0] == square.repeat(2, 3)).all()


def test_a_seed_gives_its_codes_in_any_company(tiny: Generator, tiny_folder: Path) -> None:
    """Alone, among others, and from a fresh copy of the weights."""

    def codes(generator: Generator, seed: int) -> str:
        *_, last = generator.stream(PROMPT, seed=seed, steps=5)
        return last.codes_sha256

    alone = codes(tiny, 7)
    assert [codes(tiny, seed) for seed in (5, 6, 7, 8)][2] == alone
    first, second = (Generator.from_pretrained(tiny_folder) for _ in range(2))
    assert codes(first, 7) == codes(second, 7)


def test_saved_weights_say_the_same(tiny: Generator, tiny_folder: Path) -> None:
    again = Generator.from_pretrained(tiny_folder)
    assert again.config == tiny.config
    for name, weight in tiny.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], weight, atol=1e-3, rtol=1e-3)


def test_captions_are_text_for_any_clip(tiny: Generator) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 90, 3), dtype=np.uint8)
    assert isinstance(tiny.caption(Clip(frames=pixels, fps=25.0)), str)
    assert isinstance(tiny.caption(Clip(frames=pixels[:1, :3, :5], fps=8.0)), str)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "ball " * 40}, "shorten"),
        ({"frames": 0}, "cannot make"),
        ({"size": (0, 64)}, "cannot make"),
        ({"size": (100_000, 100_000)}, "cannot make"),
        ({"fps": 0.0}, "fps"),
        ({"steps": 0}, "step"),
        ({"guidance": -1.0}, "guidance"),
    ],
)
def test_the_users_mistakes_are_told_before_any_work(tiny: Generator, wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tiny.stream(**{"prompt": PROMPT, **wrong})


@pytest.mark.parametrize("model", ["no-such-model", "no/such", "./nowhere"])
def test_an_unknown_model_is_told(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"no-such|no/such|nowhere"):
        Generator.from_pretrained(model)


def test_an_impossible_device_is_told(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="device"):
        Generator.from_pretrained(tiny_folder, device="abacus")


def _broken(tiny_folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(tiny_folder, to, dirs_exist_ok=True)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 999}, "version|newer"),
        ({"network.telepathy": True}, "unknown"),
        ({"network.depth": 3}, "fit"),
        ({"network.depth": "two"}, "depth"),
        ({"fps": float("nan")}, "fps"),
        ({"format": "kinetoken-tokenizer"}, "kinetoken-model"),
    ],
)
def test_a_config_of_another_time_or_place_is_told(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Generator.from_pretrained(_broken(tiny_folder, tmp_path, **changes))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "text_codec.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_damaged_files_are_told(tiny_folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    path = _broken(tiny_folder, tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(ValueError):
        Generator.from_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_told(tiny_folder: Path, tmp_path: Path) -> None:
    path = _broken(tiny_folder, tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["network.norm.weight"][0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(ValueError, match="finite"):
        Generator.from_pretrained(tmp_path)


def test_a_hub_model_is_fetched_and_read(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: asked.append(name) or str(tiny_folder))
    monkeypatch.chdir(tmp_path)
    assert Generator.from_pretrained("someone/tiny").config.frames == 5
    assert asked == ["someone/tiny"]
