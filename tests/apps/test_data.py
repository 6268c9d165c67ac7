"""The commands, from files to a network that is trained on them."""

import sys
from pathlib import Path

import pytest

from kinetoken.apps.cli import main
from kinetoken.apps.train import save_tokenizer
from kinetoken.generator import Generator
from tests.data.clips import moving, write_mixed

SMALL = ("--size", "40x40", "--shortest", "4f", "--longest", "8f", "--no-cuts", "--workers", "0")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mixed(folder / "in")
    moving(7, side=48).save(folder / "in/a <b>bold \U0001f996 square.webp")
    assert main(["data", "prepare", str(folder / "in"), "-o", str(folder / "shards"), *SMALL]) == 0
    return folder / "shards"


def test_the_report_shows_all_and_needs_nothing(shards: Path) -> None:
    page = (shards / "report.html").read_text(encoding="utf-8")
    assert all(reason in page for reason in ("corrupt", "still", "black", "duplicate", "too short"))
    assert page.count("data:image/") > 10 and "http" not in page and len(page) < 500_000
    assert "a &lt;b&gt;bold \U0001f996 square.webp" in page and "<b>bold" not in page


def test_a_second_run_says_that_nothing_is_new(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert main(["data", "prepare", str(shards.parent / "in"), "-o", str(shards), *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("10 files, 0 of them new: 4 clips; dropped: ") and err == ""
    assert {path.name: path.stat().st_mtime_ns for path in shards.iterdir()} == before


def test_own_clips_train_a_tokenizer_and_a_network(
    shards: Path, tiny: Generator, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tokenizer(tiny.tokenizer, tmp_path / "speaks")
    run, tokens = tmp_path / "tokenizer", tmp_path / "tokens"
    debug = ("--recipe", "debug", "--steps", "2")
    assert main(["train", "tokenizer", "--data", str(shards), "--run", str(run), *debug]) == 0
    shape = ("--frames", "5", "--size", "32x32", "--offsets", "2")
    speaks = ("--tokenizer", str(tmp_path / "speaks"))
    assert main(["data", "tokenize", str(shards), "-o", str(tokens), *speaks, *shape]) == 0
    assert "14 windows of 4 clips" in capsys.readouterr().out
    one = ("--steps", "1", "--batch-clips", "2")
    runs = {
        "fresh": debug,
        "tuned": (*debug, "--from", str(tiny_folder)),
        "drawings": ("--recipe", "drawings", "--depth", "1", *one),
        "animations": ("--recipe", "animations", "--from", str(tmp_path / "drawings" / "model"), *one),
    }
    for name, options in runs.items():
        assert main(["train", "network", "--data", str(tokens), "--run", str(tmp_path / name), *options]) == 0
        config = Generator.from_pretrained(tmp_path / name / "model", device="cpu").config
        assert (config.frames, config.width, config.height, config.fps) == (5, 32, 32, 8.0)
    assert list((tmp_path / "fresh" / "samples").iterdir()) and list((tmp_path / "tuned" / "samples").iterdir())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["data", "prepare", "none", "-o", "shards"], "does not exist"),
        (["data", "prepare", ".", "-o", "shards"], "no clips"),
        (["data", "prepare", "words.pdf", "-o", "shards"], "neither"),
        (["data", "prepare", ".", "-o", "shards", "--size", "80"], "WIDTHxHEIGHT"),
        (["data", "prepare", ".", "-o", "shards", "--captions", "none.csv"], "none.csv"),
        (["data", "prepare", "a.mp4", "-o", "shards"], "PySceneDetect"),
        (["data", "tokenize", ".", "-o", "tokens"], "data prepare"),
        (["train", "tokenizer", "--run", "run", "--data", "."], "data prepare"),
        (["train", "network", "--run", "run", "--data", "."], "data tokenize"),
        (["train", "network", "--run", "run", "--data", ".", "--tokenizer", "."], "--tokenizer"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    arguments: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kinetoken.data.filters.find_spec", lambda name: None)
    (tmp_path / "words.pdf").write_text("words")
    if "a.mp4" in arguments:
        (tmp_path / "a.mp4").touch()
    before = sorted(tmp_path.iterdir())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and why in err
    assert sorted(tmp_path.iterdir()) == before


def test_preparing_does_not_wait_for_torch() -> None:
    import subprocess

    code = "import sys, kinetoken.data.report, kinetoken.apps.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
