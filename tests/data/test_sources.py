import csv
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetoken.data.caption_files import caption_of_name, captions_by_file, captions_of_text_file, file_key
from kinetoken.data.sources import DataSet
from tests.data.clips import moving

WILD = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)
FILE_NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=20
).filter(lambda name: not name.startswith("."))


def _told(data: DataSet) -> dict[str, tuple[str, ...]]:
    return {source.name: source.captions for source in data}


def _empty_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_captions_come_from_the_table_then_the_text_then_the_name(tmp_path: Path) -> None:
    _empty_files(tmp_path, "in/table.mp4", "in/text_02.mp4", "a red-ball 03.mp4", "000017.mp4", "notes.pdf")
    (tmp_path / "in/table.txt").write_text("not this")
    (tmp_path / "in/text_02.txt").write_text("\ufeffa ball falls\n\n  a  ball drops \n", encoding="utf-8")
    (tmp_path / "captions.csv").write_text(
        'file,caption\nin/table.mp4,"a ""red"" ball, it falls"\nin/table.mp4,again\n'
    )
    assert _told(DataSet(tmp_path)) == {
        "000017.mp4": (),
        "a red-ball 03.mp4": ("a red ball",),
        "in/table.mp4": ('a "red" ball, it falls', "again"),
        "in/text_02.mp4": ("a ball falls", "a ball drops"),
    }
    assert [source.origin for source in DataSet(tmp_path)] == ["none", "name", "table", "text"]
    assert _told(DataSet(tmp_path, names=False))["a red-ball 03.mp4"] == ()


def test_tables_of_json_and_parquet(tmp_path: Path) -> None:
    rows = [{"file": "a.mp4", "caption": "one"}, {"file": "b.mp4", "captions": ["two", {"text": "three"}]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert captions_by_file(tmp_path / "t.jsonl") == {"a.mp4": ("one",), "b.mp4": ("two", "three")}
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"file": ["a.mp4", "b.mp4"], "caption": ["one", None]}), tmp_path / "t.parquet")
    assert captions_by_file(tmp_path / "t.parquet") == {"a.mp4": ("one",), "b.mp4": ()}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.csv", "path,text\na.mp4,b\n", "it needs file and caption"),
        ("t.jsonl", '{"file": "a.mp4", "caption": "b"}\n{"file": 3', "line 2"),
        ("t.xlsx", "", "no table"),
        ("none.csv", None, "cannot be read"),
    ],
)
def test_tables_that_cannot_be_read_are_told_first(tmp_path: Path, name: str, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=why):
        DataSet(tmp_path, captions=tmp_path / name)


@given(st.dictionaries(WILD.filter(str.strip), WILD, max_size=5))
@settings(max_examples=30, deadline=None)
def test_odd_captions_survive_a_table(captions: dict[str, str]) -> None:
    expected: dict[str, tuple[str, ...]] = {}
    for name, text in captions.items():
        told = (" ".join(text.split()),) if text.strip() else ()
        expected[file_key(name)] = expected.get(file_key(name), ()) + told
    with TemporaryDirectory() as folder:
        for path, dialect in ((Path(folder) / "t.csv", csv.excel), (Path(folder) / "u.csv", csv.unix_dialect)):
            with path.open("w", encoding="utf-8", newline="") as lines:
                csv.writer(lines, dialect).writerows([("file", "caption"), *captions.items()])
            assert captions_by_file(path) == expected


@given(st.binary(max_size=60))
@settings(max_examples=30, deadline=None)
def test_any_bytes_are_text_of_some_kind(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_bytes(content)
        assert all(text == " ".join(text.split()) and text for text in captions_of_text_file(Path(folder) / "a.txt"))


@given(st.sets(FILE_NAMES, max_size=4))
@settings(max_examples=30, deadline=None)
def test_every_file_is_found_whatever_its_name(names: set[str]) -> None:
    with TemporaryDirectory() as folder:
        _empty_files(Path(folder), *(f"{name}.mp4" for name in names))
        found = [source.name for source in DataSet(Path(folder))]
        assert set(found) == {f"{name}.mp4" for name in names} and found == sorted(found)


@given(WILD)
def test_a_name_says_words(stem: str) -> None:
    caption = caption_of_name(stem)
    assert caption == " ".join(caption.split()) and not caption.isdecimal()


def test_a_folder_of_numbered_pictures_is_one_clip_and_photos_are_many(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        for folder in ("walk", "photos", "told", "labelled"):
            (tmp_path / folder).mkdir(exist_ok=True)
        moving(number, frames=1).save(tmp_path / f"walk/frame_{number}.png")
        moving(number, frames=1).save(tmp_path / f"photos/tree {number}.png")
        moving(number, frames=1).save(tmp_path / f"told/tree {number}.png")
        moving(number, frames=1).save(tmp_path / f"labelled/{number:03}.png")
        (tmp_path / f"labelled/{number:03}.txt").write_text(f"label {number}")
    (tmp_path / "told.txt").write_text("a tree grows")
    sources = {source.name: source for source in DataSet(tmp_path)}
    assert [path.name for path in sources["walk"].pictures()] == ["frame_1.png", "frame_2.png", "frame_10.png"]
    assert sources["told"].captions == ("a tree grows",) and sources["labelled/001.png"].captions == ("label 1",)
    assert len(sources) == 2 + 3 + 3 and sources["photos/tree 1.png"].captions == ("tree",)


def test_lists_say_which_files(tmp_path: Path) -> None:
    _empty_files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "list.txt").write_text("c.mp4\n\na.mp4\n")
    (tmp_path / "list.csv").write_text("file,caption\nb.mp4,one\nb.mp4,two\ngone.mp4,three\n")
    assert list(_told(DataSet(tmp_path / "list.txt"))) == ["c.mp4", "a.mp4"]
    assert _told(DataSet(tmp_path / "list.csv")) == {"b.mp4": ("one", "two"), "gone.mp4": ("three",)}
    assert DataSet(tmp_path / "list.csv").count() == 2 and DataSet(tmp_path / "a.mp4").count() == 1


def test_hidden_files_and_the_output_are_not_sources(tmp_path: Path) -> None:
    _empty_files(tmp_path, "a.mp4", ".b.mp4", ".cache/c.mp4", "shards/d.mp4")
    assert list(_told(DataSet(tmp_path, skip=tmp_path / "shards"))) == ["a.mp4"]
