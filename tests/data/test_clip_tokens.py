from pathlib import Path

import numpy as np
import pytest
import torch

from kinetoken.clip import Clip
from kinetoken.data.clip_batches import PreparedClips
from kinetoken.data.clip_reading import PrepareConfig
from kinetoken.data.clip_tokens import TokensConfig, token_shards, tokenize_clips, tokens_card
from kinetoken.data.clips_on_disk import prepare
from kinetoken.data.sources import DataSet
from kinetoken.data.tar_shards import TarShards
from kinetoken.data.token_shards import ShardBatches
from kinetoken.data.toybox_clips import ClipShape
from kinetoken.data.windows import starts, window
from kinetoken.generator import Generator
from kinetoken.vocabulary import Vocabulary
from tests.data.clips import moving

CONFIG = TokensConfig(frames=5, width=16, height=16, offsets=2, crops=2, clips_per_shard=8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TarShards:
    """Clips of 8 frames, one without a caption, one of 4 frames, and a picture."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "in").mkdir()
    for seed in range(4):
        moving(seed).save(folder / f"in/square {'abcd'[seed]}.webp")
    moving(4).save(folder / "in/0005.webp")
    moving(5, frames=4).save(folder / "in/short.webp")
    moving(6, frames=1).save(folder / "in/picture.png")
    config = PrepareConfig(width=24, height=24, cuts=False, shortest=4)
    list(prepare(DataSet(folder / "in"), folder / "shards", config, workers=0))
    return TarShards(folder / "shards")


def test_tokens_are_those_of_stretches_and_windows(shards: TarShards, tiny: Generator, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    last = list(tokenize_clips(tiny.tokenizer, shards, folder, CONFIG, fps=8.0))[-1]
    assert (last.done, last.total, last.skipped) == (18, 18, 2)  # 4 clips, 2 stretches, 2 windows; 2 of the picture
    clips, more, pictures = token_shards(folder)
    assert clips.codes.shape == more.codes.shape == (8, 2, 4, 4) and pictures.codes.shape == (2, 1, 4, 4)
    assert tokens_card(folder).fps == 8 and clips.captions[0] == ["square a"] and pictures.captions[0] == ["picture"]
    stored = next(shards[k] for k in range(len(shards)) if shards[k].captions == ("square a",))
    for row, start in ((0, 0), (2, 3)):
        part = Clip(frames=stored.clip.frames[start : start + 5], fps=8.0).crop_to(16, 16)
        codes = tiny.tokenizer.encode(torch.from_numpy(part.frames)[None].float() / 127.5 - 1)[0]
        assert (codes.numpy() == clips.codes[row]).mean() > 0.99

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    list(tokenize_clips(tiny.tokenizer, shards, folder, CONFIG, fps=8.0))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} == before
    with pytest.raises(ValueError, match="crops 2, not 3"):
        list(tokenize_clips(tiny.tokenizer, shards, folder, TokensConfig(**{**vars(CONFIG), "crops": 3}), fps=8.0))

    batches = ShardBatches(
        token_shards(folder),
        turns=[0, 1, 2],
        codec=tiny.codec,
        network=tiny.config.network,
        batch_clips=4,
        window=2,
    )
    for step in range(6):
        batch = batches.batch(step)
        assert (
            batch.grid.shape[0] in (2, 4) and batch.grid.min() >= Vocabulary(text=tiny.codec.size, visual=64).text_end
        )


def test_loops_are_laid_on_circles(tiny: Generator, tmp_path: Path) -> None:
    """Of 9 frames, on a circle of 8; a clip that does not loop, and one that is twice as long, are not."""
    there = moving(1, frames=5).frames
    back = Clip(frames=np.concatenate((there, there[-2::-1])), fps=8.0)
    (tmp_path / "in").mkdir()
    back.save(tmp_path / "in/to and fro.webp")
    moving(2, frames=9).save(tmp_path / "in/away.webp")
    Clip(frames=np.concatenate((back.frames, back.frames[1:])), fps=8.0).save(tmp_path / "in/twice.webp")
    of = PrepareConfig(width=24, height=24, cuts=False, shortest=4)
    list(prepare(DataSet(tmp_path / "in"), tmp_path / "shards", of, workers=0))
    own, folder = TarShards(tmp_path / "shards"), tmp_path / "tokens"
    config = TokensConfig(frames=5, width=24, height=24, offsets=2, crops=1, loops=8)
    *_, last = tokenize_clips(tiny.tokenizer, own, folder, config, fps=8.0)
    clips, loops = token_shards(folder)
    assert (clips.loop, loops.loop, last.total) == (False, True, 7)
    assert loops.codes.shape == (1, 2, 6, 6) and loops.captions == [["to and fro"]]
    stored = next(one.clip for one in (own[k] for k in range(3)) if one.captions == ("to and fro",))
    codes = tiny.tokenizer.encode_clip(Clip(frames=stored.frames[[0, 2, 3, 4, 5, 6, 7, 8]], fps=8.0), loop=True)
    assert (codes.numpy() == loops.codes[0]).mean() > 0.99
    batches = ShardBatches(
        [clips, loops], turns=[0, 1], codec=tiny.codec, network=tiny.config.network, batch_clips=2, window=1
    )
    assert [bool(batches.batch(step).loop.all()) for step in range(2)] == [False, True]
    with pytest.raises(ValueError, match="whole layers"):
        list(tokenize_clips(tiny.tokenizer, own, tmp_path / "no", TokensConfig(frames=5, loops=6), fps=8.0))


def test_half_a_folder_of_tokens_is_told(shards: TarShards, tiny: Generator, tmp_path: Path) -> None:
    writing = tokenize_clips(tiny.tokenizer, shards, tmp_path / "tokens", CONFIG, fps=8.0)
    next(writing)
    writing.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="tokenize again"):
        token_shards(tmp_path / "tokens")


def test_starts_are_spread_evenly() -> None:
    assert starts(80, 17, 4).tolist() == [0, 21, 42, 63]
    assert starts(18, 17, 4).tolist() == [0, 1] and starts(17, 17, 4).tolist() == [0] and starts(16, 17, 4).size == 0


@pytest.mark.parametrize(("width", "height"), [(16, 16), (24, 8), (48, 32)])
def test_windows_have_the_wanted_shape(width: int, height: int) -> None:
    clip = moving(0)
    for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
        assert window(clip, width, height, rng).frames.shape == (8, height, width, 3)


def test_batches_of_prepared_clips_are_a_pure_function_of_the_step(shards: TarShards) -> None:
    shapes = (ClipShape(frames=5, height=16, width=16), ClipShape(frames=1, height=16, width=24, crop=8))
    batches = PreparedClips(shards, batch_clips=4, shapes=shapes)
    forwards = [batches.batch(step).frames for step in range(6)]
    assert all((batches.batch(step).frames == forwards[step]).all() for step in (5, 0, 3))
    assert forwards[0].shape == (4, 5, 16, 16, 3) and forwards[1].shape == (24, 1, 8, 8, 3)
    halves = [batches.batch(2, rank, 2).frames for rank in range(2)]
    assert (torch.stack(halves, dim=1).flatten(0, 1) == forwards[2]).all()
    with pytest.raises(ValueError, match="--longest"):
        PreparedClips(shards, batch_clips=4, shapes=(ClipShape(frames=9),))
