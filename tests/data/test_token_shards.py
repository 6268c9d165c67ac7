from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinetoken.data.token_shards import ShardBatches, TokenShard, write_layouts, write_shard
from kinetoken.data.toybox_clips import ClipShape, ToyboxClips, liveliest
from kinetoken.transformer import TransformerConfig
from kinetoken.vocabulary import TextCodec, Vocabulary

CODEC = TextCodec.train(["a red ball bounces"], 280)
NETWORK = TransformerConfig(text_codes=CODEC.size, visual_codes=64, words=32)


def _shard(folder: Path, clips: int, time: int) -> TokenShard:
    rng = np.random.default_rng(time)
    grids = rng.integers(0, 64, (clips, time, 4, 4))
    pairs = [(grid, [f"ball {k}", f"a red ball bounces {'again ' * (k % 5)}{k}"]) for k, grid in enumerate(grids)]
    assert list(write_shard(folder, pairs, count=clips, visual_codes=64)) == list(range(1, clips + 1))
    return TokenShard(folder)


@pytest.fixture
def batches(tmp_path: Path) -> ShardBatches:
    shards = [_shard(tmp_path / "long", 40, 3), _shard(tmp_path / "image", 24, 1)]
    return ShardBatches(shards, turns=[0, 1, 0], codec=CODEC, network=NETWORK, batch_clips=4, captioning=0.3, window=3)


def test_a_batch_is_a_pure_function_of_its_step(batches: ShardBatches) -> None:
    forwards = [batches.batch(step) for step in range(12)]
    backwards = [batches.batch(step) for step in reversed(range(12))][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_ranks_share_the_batch(batches: ShardBatches) -> None:
    whole, parts = batches.batch(5), [batches.batch(5, rank, 2) for rank in range(2)]
    for field, first, second in zip(whole, *parts, strict=True):
        assert (torch.stack((first, second), dim=1).flatten(0, 1) == field).all()


def test_shapes_take_turns_and_every_clip_comes_once_an_epoch(batches: ShardBatches) -> None:
    steps = [batches.batch(step) for step in range(45)]
    assert [batch.grid.shape[1] for batch in steps[:6]] == [3, 1, 3, 3, 1, 3]
    long = [tuple(grid.flatten().tolist()) for batch in steps if batch.grid.shape[1] == 3 for grid in batch.grid]
    assert len(long) == 120 and set(Counter(long).values()) == {3}  # 40 clips, three epochs


def test_every_batch_has_as_many_codes(batches: ShardBatches) -> None:
    assert {batches.batch(step).grid.numel() for step in range(6)} == {4 * 3 * 16}


def test_windows_find_what_stands_out(tmp_path: Path) -> None:
    """Plain ground of one code, and an object of rare codes: its place is in every window, and nothing is invented."""
    rng = np.random.default_rng(0)
    grids = np.zeros((6, 2, 16, 16), dtype=np.int64)
    for clip, grid in enumerate(grids):
        row, column = rng.integers(0, 13, 2)
        grid[:, row : row + 3, column : column + 3] = 1 + clip
    list(write_shard(tmp_path / "s", [(grid, ["a ball"]) for grid in grids], count=6, visual_codes=64))
    windows = TokenShard(tmp_path / "s", side=8).codes
    assert windows.shape == (6, 2, 8, 8)
    assert all((window == 1 + clip).sum() >= 2 * 7 for clip, window in enumerate(windows))
    with pytest.raises(ValueError, match="do not fit"):
        _ = TokenShard(tmp_path / "s", side=17).codes


def test_a_clips_beginning_is_a_clip(tmp_path: Path) -> None:
    whole = _shard(tmp_path / "long", 5, 3)
    image = TokenShard(whole.folder, layers=1)
    assert image.codes.shape == (5, 1, 4, 4) and (image.codes == whole.codes[:, :1]).all()


def test_rows_to_be_written_do_not_betray_their_length(batches: ShardBatches) -> None:
    steps = [batches.batch(step) for step in range(40)]
    lengths = {bool(batch.captioning.any()): set() for batch in steps}
    for batch in steps:
        assert batch.captioning.all() or not batch.captioning.any()
        assert (batch.text == Vocabulary.END).sum(1).eq(1).all()
        lengths[bool(batch.captioning.any())].add(batch.text.shape[1])
    assert lengths[True] == {32} and max(lengths[False]) < 32 and all(length % 4 == 0 for length in lengths[False])


def test_captioning_learns_the_first_caption_and_painting_all(batches: ShardBatches) -> None:
    """Else whoever writes one stops where some told less."""
    texts = {True: set(), False: set()}
    for batch in map(batches.batch, range(40)):
        texts[bool(batch.captioning.any())] |= {CODEC.decode(row.tolist()) for row in batch.text}
    assert texts[True] and all(text.startswith("ball") for text in texts[True])
    assert {text.split()[0] for text in texts[False]} == {"ball", "a"}


def test_codes_are_of_the_one_vocabulary(batches: ShardBatches) -> None:
    grid = batches.batch(0).grid
    assert grid.min() >= NETWORK.vocabulary.text_end and grid.max() < NETWORK.vocabulary.size


def test_a_shard_that_was_cut_short_is_not_there(tmp_path: Path) -> None:
    grid = np.zeros((1, 4, 4), dtype=np.int64)
    writing = write_shard(tmp_path / "shard", [(grid, ["a"])] * 3, count=3, visual_codes=64)
    next(writing)
    writing.close()
    assert not (tmp_path / "shard").exists()
    with pytest.raises(ValueError, match="tokenize more"):
        ShardBatches([_shard(tmp_path / "few", 2, 1)], turns=[0], codec=CODEC, network=NETWORK, batch_clips=4)


def test_windows_are_where_something_happens() -> None:
    frames = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    frames[:, 10:20, 40:50] = np.random.default_rng(0).integers(0, 256, (3, 10, 10, 3))
    chosen = liveliest(frames, 32, 2, np.random.default_rng(1))
    assert [window.shape for window in chosen] == [(3, 32, 32, 3)] * 2
    assert chosen[0].std() >= chosen[1].std() > 0


def test_a_batch_of_windows_has_as_many_pixels_as_one_of_clips() -> None:
    shapes = (ClipShape(frames=5), ClipShape(frames=5, crop=32))
    clips = ToyboxClips(batch_clips=2, shapes=shapes)
    whole, windows = clips.batch(0).frames, clips.batch(1).frames
    assert whole.shape == (2, 5, 64, 64, 3) and windows.shape == (8, 5, 32, 32, 3)
    halves = [clips.batch(1, rank, 2).frames for rank in range(2)]
    assert sum(len(half) for half in halves) == 8


def test_windows_without_words_and_layouts_without_pictures(tmp_path: Path) -> None:
    """All three in one run: clips with everything, windows of them that say nothing, layouts with words alone."""
    rng = np.random.default_rng(0)
    layouts = rng.integers(0, 2, (12, 2, 3, 11))
    pairs = [(grid, ["a red ball"]) for grid in rng.integers(0, 64, (12, 2, 8, 8))]
    list(write_shard(tmp_path / "clips", pairs, count=12, visual_codes=64, layouts=layouts))
    write_layouts(tmp_path / "plans", layouts, [["a red ball bounces"]] * 12)
    whole, silent = TokenShard(tmp_path / "clips"), TokenShard(tmp_path / "clips", side=4, silent=True)
    batches = ShardBatches(
        [whole, silent, TokenShard(tmp_path / "plans")],
        turns=[0, 1, 2],
        codec=CODEC,
        network=replace(NETWORK, looks=(6, 8, 3)),
        batch_clips=2,
        captioning=1.0,
        window=2,
    )
    clips, windows, plans = (batches.batch(step) for step in range(3))
    assert clips.captioning.all() and clips.layout.shape == (2, 2, 3, 11) and clips.text.shape[1] == 32
    assert windows.text.shape == (8, 0) and windows.grid.shape == (8, 2, 4, 4) and not windows.captioning.any()
    assert plans.grid.shape[1:] == (2, 0, 0) and plans.layout.shape[1:] == (2, 3, 11) and plans.text.numel()
    told = {tuple(layout.flatten().tolist()) for layout in layouts}
    assert {tuple(layout.flatten().tolist()) for layout in plans.layout} <= told

    untold = ShardBatches([whole], turns=[0], codec=CODEC, network=NETWORK, batch_clips=2, window=2).batch(0)
    assert not untold.layout.numel()


def test_tokens_that_say_nothing_of_layouts_are_refused(tmp_path: Path) -> None:
    """As those that an older version made."""
    shard, learns = _shard(tmp_path, 4, 2), replace(NETWORK, looks=(2, 2), things=3)
    for written in (None, np.zeros((4, 2, 2, 7), np.int16)):
        if written is not None:
            np.save(tmp_path / "layouts.npy", written)
        with pytest.raises(ValueError, match="tokenize anew"):
            ShardBatches([replace(shard)], turns=[0], codec=CODEC, network=learns, batch_clips=4)
