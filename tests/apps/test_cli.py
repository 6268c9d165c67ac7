import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinetoken.apps.cli import COMMANDS, main
from kinetoken.clip import Clip


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a mistake is answered with."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_help_and_import_do_not_wait_for_torch() -> None:
    code = "import sys, kinetoken.apps.cli as c; c.main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS)


def test_generating_imports_no_compiler(tiny_folder: Path, tmp_path: Path) -> None:
    """torch._dynamo and what it needs take two seconds, half of a cold start."""
    arguments = ["generate", "a red ball", "--model", str(tiny_folder), "--steps", "1", "-o", str(tmp_path / "a.png")]
    slow = {"torch._dynamo", "torch._inductor", "sympy", "vector_quantize_pytorch"}
    code = f"import sys, kinetoken.apps.cli as c; c.main({arguments!r}); print(sorted({slow!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_process_ends_with_its_code_and_all_that_it_said() -> None:
    asked = ([], 0, "usage: "), (["--version"], 0, "kinetoken "), (["generate", ""], 2, ""), (["sing"], 2, "")
    for arguments, code, said in asked:
        command = [sys.executable, "-m", "kinetoken", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code and done.stdout.startswith(said) and bool(done.stderr) == bool(code)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0 and "usage" in capsys.readouterr().out


def test_generate_writes_the_same_clip_again(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = []
    for name in ("a.png", "b.png"):
        path = tmp_path / name
        arguments = ["generate", "a red ball bounces", "-o", str(path), "--seed", "7", "--steps", "3", "--json"]
        assert main([*arguments, "--model", str(tiny_folder), "--frames", "1", "--scale", "2"]) == 0
        records.append(json.loads(capsys.readouterr().out))
    assert records[0]["sha256"] == records[1]["sha256"]
    assert {"path", "prompt", "seed", "frames", "width", "height", "fps", "steps", "seconds"} <= records[0].keys()
    first, second = (Clip.read(tmp_path / name).frames for name in ("a.png", "b.png"))
    assert first.shape == (1, 64, 64, 3) and (first == second).all()


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp"])
def test_generate_writes_every_format(tiny_folder: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    size = ["--size", "48x32", "--frames", "6", "--steps", "2"]
    assert main(["generate", "a ball", "-o", str(path), "--model", str(tiny_folder), *size]) == 0
    assert Clip.read(path).frames.shape == (6, 32, 48, 3)


def test_count_numbers_the_files_and_the_seeds(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "a ball", "-o", str(tmp_path / "c.gif"), "--model", str(tiny_folder), "--steps", "2"]
    assert main([*arguments, "--count", "3", "--seed", "10", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["seed"] for record in records] == [10, 11, 12]
    assert len({record["sha256"] for record in records}) == 3
    assert all(Path(record["path"]).exists() for record in records)
    main([*arguments, "--seed", "11", "--json"])
    assert json.loads(capsys.readouterr().out)["sha256"] == records[1]["sha256"]


def test_nothing_is_said_where_nobody_reads(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["generate", "a ball", "-o", str(tmp_path / "a.gif"), "--model", str(tiny_folder), "--steps", "2"])
    assert capsys.readouterr() == ("", "")


def test_reconstruct_measures_what_it_writes(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 30, 42, 3), dtype=np.uint8)
    source = Clip(frames=pixels, fps=10.0).save(tmp_path / "source.webp")
    output = tmp_path / "codes.webp"
    assert main(["reconstruct", str(source), "-o", str(output), "--model", str(tiny_folder), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    rebuilt = Clip.read(output)
    assert rebuilt.frames.shape == pixels.shape and rebuilt.fps == pytest.approx(10, rel=0.02)
    error = np.square(rebuilt.frames.astype(float) - Clip.read(source).frames).mean()
    assert figures["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.5)
    assert -1 <= figures["ssim"] <= 1 and figures["bits_per_pixel"] > 0


def test_reconstruct_streams_a_long_video(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.zeros((600, 16, 16, 3), dtype=np.uint8) + np.arange(600, dtype=np.uint8)[:, None, None, None]
    source = Clip(frames=pixels, fps=30.0).save(tmp_path / "long.mp4")
    assert main(["reconstruct", str(source), "--model", str(tiny_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 600


def test_caption_says_something(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = Clip(frames=np.zeros((5, 32, 32, 3), dtype=np.uint8), fps=8.0).save(tmp_path / "black.mp4")
    assert main(["caption", str(clip), "--model", str(tiny_folder)]) == 0
    assert capsys.readouterr().out.endswith("\n")


def test_render_writes_clips_captions_and_descriptions(tmp_path: Path) -> None:
    from kinetoken.data.toybox import render, sample_scene, scene_from_dict

    assert main(["render", str(tmp_path), "--count", "2", "--seed", "5", "--format", "webp"]) == 0
    records = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    assert [record["seed"] for record in records] == [5, 6]
    scene = scene_from_dict(records[0]["scene"])
    assert scene == sample_scene(5) and len(records[0]["captions"]) == 4
    assert Clip.read(tmp_path / records[0]["file"]).frames.shape == render(scene).frames.shape


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["dance"], "unknown command"),
        (["generate", " "], "empty"),
        (["generate", "a ball", "-o", "clip.xyz"], "xyz"),
        (["generate", "a ball", "-o", "no/such/folder/clip.mp4"], "folder"),
        (["generate", "a ball", "--size", "64"], "WIDTHxHEIGHT"),
        (["generate", "a ball", "--size", "0x64", "--model", "TINY"], "cannot make"),
        (["generate", "a ball", "--frames", "0", "--model", "TINY"], "cannot make"),
        (["generate", "a ball", "--count", "0"], "--count"),
        (["generate", "a ball", "--model", "nonsense"], "unknown model"),
        (["generate", "a ball", "--model", "TINY", "--device", "abacus"], "device"),
        (["caption", "no-such-file.mp4"], "no-such-file"),
        (["reconstruct", "no-such-file.mp4"], "no-such-file"),
        (["render", "TEXT"], "file"),
        (["evaluate", "judge", "--count", "0"], "--count"),
        (["evaluate", "adherence", "--data", "shards"], "--data is for reconstruction"),
        (["evaluate", "generation"], "needs --data"),
        (["evaluate", "reconstruction", "--enlarge", "2"], "--enlarge must be"),
        (["evaluate", "reconstruction", "--enlarge", "0", "--data", "shards"], "--enlarge must be"),
        (["evaluate", "names", "--data", "shards", "--refine", "1"], "--refine must be"),
        (["reconstruct", "clip.mp4", "--refine", "-1"], "--refine must be"),
        (["evaluate", "generation", "--data", "shards", "--count", "1"], "at least 2"),
        (["evaluate", "reconstruction", "--trained-on", "shards"], "--trained-on for --data"),
        (["train", "network", "--run", "x", "--recipe", "debug"], "--tokenizer"),
        (["train", "tokenizer", "--run", "x", "--depth", "3"], "--depth"),
    ],
)
def test_mistakes_get_one_line_and_code_2(
    arguments: list[str],
    why: str,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("words")
    names = {"TINY": str(tiny_folder), "TEXT": "file.txt"}
    assert why in _refused(capsys, *(names.get(argument, argument) for argument in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("command", ["caption", "reconstruct"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("words.mp4", b"hello, this is no video\n"),
        ("playlist.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("stream.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    ],
)
def test_files_that_are_no_video_are_refused(
    command: str, name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in _refused(capsys, command, str(tmp_path / name))


def _source(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    return str(Clip(frames=pixels, fps=8.0).save(folder / "source.webp"))


def test_an_extension_keeps_its_source_and_shows_its_steps(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, shown = _source(tmp_path), tmp_path / "longer.webp", tmp_path / "steps"
    arguments = ["extend", source, "--after", "3f", "--before", "0.25s", "a ball", "-o", str(output), "--json"]
    assert main([*arguments, "--model", str(tiny_folder), "--steps", "4", "--preview", str(shown)]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 11 and len(list(shown.iterdir())) == 2
    assert (Clip.read(output).frames[2:8] == Clip.read(source).frames).all()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["extend", "SOURCE", "--after", "soon"], "a time is"),
        (["extend", "SOURCE"], "at least 1 frame"),
        (["inpaint", "SOURCE"], "--mask"),
        (["inpaint", "SOURCE", "--box", "9,9,9,9"], "inside"),
        (["inpaint", "SOURCE", "--box", "all"], "--box"),
        (["animate", "SOURCE", "--pin", "end.png"], "--pin"),
        (["recut", "SOURCE", "--keep", "1s-9s", "--length", "20s"], "cannot keep"),
        (["outpaint", "SOURCE", "--size", "8x8"], "larger"),
        (["variations", "SOURCE", "--count", "0"], "--count"),
        (["storyboard", "BOARD"], "past the end"),
        (["storyboard", "none.toml"], "none.toml"),
        (["imagine", "--preview", "steps.mp4"], "--preview"),
    ],
)
def test_mistakes_of_tasks_are_told_before_the_model_is_loaded(
    arguments: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board.toml"
    board.write_text('length = "1s"\n[[card]]\ntime = "0s"\nprompt = "a"\n[[card]]\ntime = "2s"\nprompt = "b"\n')
    names = {"SOURCE": _source(tmp_path), "BOARD": str(board)}
    monkeypatch.chdir(tmp_path)
    assert why in _refused(capsys, *(names.get(argument, argument) for argument in arguments), "--model", "nonsense")
    assert not (tmp_path / "clip.mp4").exists()
