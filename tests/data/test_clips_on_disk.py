import multiprocessing
import os
import signal
import tarfile
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinetoken.clip import Clip
from kinetoken.data import reading_pool
from kinetoken.data.clip_reading import BACKDROPS, PrepareConfig, read
from kinetoken.data.clips_on_disk import prepare
from kinetoken.data.filters import Reason
from kinetoken.data.sources import DataSet
from kinetoken.data.tar_shards import Record, TarShards, records
from tests.data.clips import moving, write_mixed

CONFIG = PrepareConfig(fps=8.0, width=16, height=16, cuts=False, shortest=4, longest=6, clips_per_shard=2)


def _prepared(source: Path, shards: Path, config: PrepareConfig = CONFIG, workers: int = 0) -> list[Record | None]:
    return list(prepare(DataSet(source), shards, config, workers=workers))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    write_mixed(tmp_path / "mixed")
    return tmp_path / "mixed"


def test_everything_has_a_place_or_a_reason(mixed: Path, tmp_path: Path) -> None:
    found = {record.source: record for record in _prepared(mixed, tmp_path / "shards") if record}
    assert found == {record.source: record for record in records(tmp_path / "shards")}
    reasons = {name: [part.reason for part in record.dropped] for name, record in found.items()}
    assert reasons == {
        "a red square.webp": [Reason.TOO_SHORT],  # 8 frames are a piece of 6 and a rest of 2
        "broken.mp4": [Reason.CORRUPT],
        "dark.webp": [Reason.BLACK, Reason.TOO_SHORT],
        "good.mp4": [Reason.TOO_SHORT],
        "once more.webp": [Reason.TOO_SHORT, Reason.DUPLICATE],
        "picture.png": [],
        "short.gif": [Reason.TOO_SHORT],
        "still.webp": [Reason.STILL, Reason.TOO_SHORT],
        "words.webm": [Reason.CORRUPT],
    }
    kept = {name: [clip.frames for clip in record.clips] for name, record in found.items() if record.clips}
    assert kept == {"a red square.webp": [6], "good.mp4": [6], "picture.png": [1]}
    assert "words.webm begins with" in found["words.webm"].dropped[0].detail


def test_clips_come_back_as_they_were(mixed: Path, tmp_path: Path) -> None:
    _prepared(mixed, tmp_path / "shards")
    shards = TarShards(tmp_path / "shards")
    assert len(shards) == 3 and shards.lengths.tolist() == [6, 6, 1]
    first = shards[0]
    assert (first.clip.frames == moving(0).crop_to(16, 16).frames[:6]).all() and first.clip.fps == 8
    assert first.captions == ("a red square",) and first.source == "a red square.webp"
    assert shards[2].clip.frames.shape == (1, 16, 16, 3)


def test_shards_are_webdataset_s(mixed: Path, tmp_path: Path) -> None:
    _prepared(mixed, tmp_path / "shards")
    with tarfile.open(tmp_path / "shards/clips-000000.tar") as tar:
        names = tar.getnames()
    assert names == [f"{key:08}.{suffix}" for key in range(2) for suffix in ("json", "txt", "webp")]


def test_going_on_gives_the_same_bytes(mixed: Path, tmp_path: Path) -> None:
    _prepared(mixed, tmp_path / "whole")
    for done in range(1, 8):
        cut = tmp_path / f"cut-{done}"
        interrupted = prepare(DataSet(mixed), cut, CONFIG, workers=0)
        assert len(list(islice(interrupted, done))) == done
        interrupted.close()  # type: ignore[attr-defined]
        assert [record is None for record in _prepared(mixed, cut)] == [True] * done + [False] * (9 - done)
        assert _bytes(cut) == _bytes(tmp_path / "whole")


def test_what_a_killed_process_left_half_done_is_cut_off(mixed: Path, tmp_path: Path) -> None:
    _prepared(mixed, tmp_path / "whole")
    torn = tmp_path / "torn"
    interrupted = prepare(DataSet(mixed), torn, CONFIG, workers=0)
    next(interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    for name, rest in (
        ("index.jsonl", b'{"source": "br'),
        ("clips-000000.tar", b"x" * 999),
        ("clips-000001.tar", b"y"),
    ):
        with (torn / name).open("ab") as file:
            file.write(rest)
    (torn / ".spool-left").mkdir()
    _prepared(mixed, torn)
    assert _bytes(torn) == _bytes(tmp_path / "whole")


def test_a_second_run_does_nothing_and_new_files_are_added(mixed: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    _prepared(mixed, shards)
    before = _bytes(shards)
    assert _prepared(mixed, shards) == [None] * 9 and _bytes(shards) == before
    moving(9).save(mixed / "0 new.webp")
    assert [record.source for record in _prepared(mixed, shards) if record] == ["0 new.webp"]
    assert TarShards(shards)[3].captions == ("new",) and TarShards(shards)[0].captions == ("a red square",)


def test_other_settings_and_other_folders_are_refused(mixed: Path, tmp_path: Path) -> None:
    _prepared(mixed, tmp_path / "shards")
    other = PrepareConfig(fps=12.0, width=16, height=16, cuts=False, shortest=4, longest=6, clips_per_shard=2)
    with pytest.raises(ValueError, match=r"fps 8\.0, not 12"):
        _prepared(mixed, tmp_path / "shards", other)
    with pytest.raises(ValueError, match="other files"):
        _prepared(mixed, mixed)
    with pytest.raises(ValueError, match="no finished shards"):
        TarShards(mixed)


def test_rates_sizes_and_folders_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "in/walk").mkdir(parents=True)
    whole = moving(4, frames=24, side=32, fps=24.0)
    whole.save(tmp_path / "in/fast.webp")
    for number, frame in enumerate(whole.frames):
        Clip(frames=frame[None], fps=1.0).save(tmp_path / f"in/walk/{number}.png")
    config = PrepareConfig(
        fps=8.0, width=24, height=16, fit="pad", cuts=False, shortest=4, longest=99, picture_fps=24.0, format="mp4"
    )
    (fast, walk) = _prepared(tmp_path / "in", tmp_path / "shards", config)
    assert fast is not None and walk is not None and fast.clips[0].frames == 8
    assert (fast.fps, fast.width, fast.height, fast.seconds) == (24, 32, 32, 1)
    assert [part.reason for part in walk.dropped] == [Reason.DUPLICATE]  # the same frames, to the bit
    clip = TarShards(tmp_path / "shards")[0].clip
    wanted = Clip(frames=whole.frames[::3], fps=8.0).pad_to(24, 16)
    assert clip.frames.shape == wanted.frames.shape
    assert np.abs(clip.frames.astype(int) - wanted.frames).mean() < 8


def _read_or_die(task: Any) -> Any:
    if task.source.name == "good.mp4":
        os._exit(1)
    return read(task)


def test_what_is_transparent_gets_backdrops_that_its_captions_name(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    pictures = []
    for time in range(5):
        rgba = np.zeros((16, 16, 4), np.uint8)
        rgba[4:12, 2 * time : 2 * time + 6] = (0, 255, 255, 255)
        pictures.append(Image.fromarray(rgba))
    pictures[0].save(source / "a square.png", save_all=True, append_images=pictures[1:], duration=125)
    moving(0, frames=5).save(source / "opaque.webp")
    three = replace(CONFIG, backdrops=3)
    (clear, opaque) = (record for record in _prepared(source, tmp_path / "shards", three) if record)
    assert len(clear.clips) == 3 and len(opaque.clips) == 1
    shards = TarShards(tmp_path / "shards")
    names = set()
    for number in range(3):
        (caption,) = shards[number].captions
        article, before = caption.removeprefix("a square on ").removesuffix(" background").split()
        assert article == ("an" if before == "orange" else "a")
        assert (shards[number].clip.frames[:, 0, 0] == BACKDROPS[before]).all()
        assert (shards[number].clip.frames[0, 5, 3] == (0, 255, 255)).all()
        names.add(before)
    assert len(names) == 3 and shards[3].captions == ("opaque",)
    (plain, _) = (record for record in _prepared(source, tmp_path / "plain") if record)
    assert len(plain.clips) == 1 and (TarShards(tmp_path / "plain")[0].clip.frames[:, 0, 0] == 255).all()
    with pytest.raises(ValueError, match="backdrops"):
        replace(CONFIG, backdrops=11)


def test_a_file_that_kills_its_process_is_corrupt(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And processes give the shards that one process gives, but for the clip of that file."""
    monkeypatch.setattr(reading_pool, "read", _read_or_die)
    found = {record.source: record for record in _prepared(mixed, tmp_path / "many", workers=1) if record}
    assert [part.detail for part in found["good.mp4"].dropped] == ["its decoder crashed"]
    monkeypatch.undo()
    (mixed / "good.mp4").write_bytes(b"no video, either")
    alone = {record.source: record for record in _prepared(mixed, tmp_path / "one") if record}
    assert found.keys() == alone.keys()
    assert all(found[name] == alone[name] for name in found if name != "good.mp4")


def test_who_is_told_to_end_takes_the_readers_along_and_can_go_on(mixed: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    done, readers = 0, []
    with (
        pytest.raises(KeyboardInterrupt),
        closing(prepare(DataSet(mixed), tmp_path / "shards", CONFIG, workers=1)) as records_,
    ):
        for _ in records_:
            done, readers = done + 1, multiprocessing.active_children()
            signal.raise_signal(signal.SIGTERM)
    assert done == 1 and readers and not any(reader.is_alive() for reader in readers)
    assert signal.getsignal(signal.SIGTERM) == before
    _prepared(mixed, tmp_path / "shards")
    _prepared(mixed, tmp_path / "whole")
    assert _bytes(tmp_path / "shards") == _bytes(tmp_path / "whole")


def test_what_is_listed_twice_is_read_once(mixed: Path, tmp_path: Path) -> None:
    (mixed / "list.txt").write_text("good.mp4\npicture.png\ngood.mp4\ngone.mp4\n")
    found = _prepared(mixed / "list.txt", tmp_path / "shards")
    assert [None if record is None else len(record.clips) for record in found] == [1, 1, None, 0]
    assert found[3] is not None and "does not exist" in found[3].dropped[0].detail
