"""A small set of emoji, packed as npm packs them."""

import base64
import csv
import io
import json
import os
import stat
import tarfile
from hashlib import sha512
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinetoken.apps.cli import main
from kinetoken.data import emoji
from kinetoken.data.emoji import Emoji, Package, bring, hexcode_of, is_animated, missing, why_held_out, write_tables

HELD_OUT_LIST = Path(__file__).parents[2] / "docs" / "emoji-held-out.csv"
TABLE = [
    {"label": "grinning face", "hexcode": "1F600", "tags": ["cheerful", "grin", "happy", "nice"]},
    {
        "label": "waving hand",
        "hexcode": "1F44B",
        "tags": ["bye"],
        "skins": [
            {"label": "waving hand: light skin tone", "hexcode": "1F44B-1F3FB", "tone": 1},
            {"label": "waving hand: dark skin tone", "hexcode": "1F44B-1F3FF", "tone": 5},
        ],
    },
    {"label": "keycap: #", "hexcode": "0023-FE0F-20E3"},
]


def webp(frames: int) -> bytes:
    pictures = [Image.fromarray(np.full((16, 16, 4), 40 * k, np.uint8), "RGBA") for k in range(1, frames + 1)]
    file = io.BytesIO()
    pictures[0].save(file, "WEBP", save_all=frames > 1, append_images=pictures[1:], lossless=True)
    return file.getvalue()


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def registry(tmp_path: Path) -> dict[Package, Path]:
    """Packages, and where their files are."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    contents: dict[str, dict[str, bytes]] = {
        "names": {"package/en/data.json": json.dumps(TABLE).encode(), "package/en/other.json": b"{}"},
        "@some/anim-1": {
            "package/assets/1f600.webp": webp(3),
            "package/assets/1f44b-1f3ff.webp": webp(4),
            "package/assets/23-fe0f-20e3.webp": webp(1),
            "package/assets/1f9e8.webp": webp(2),
            "package/assets/../../../evil.webp": webp(2),
            "package/run-me.sh": b"exit 1",
        },
    }
    packages = {}
    for name, files in contents.items():
        path = packed(shelf / f"{name.rpartition('/')[2]}.tgz", files)
        digest = base64.b64encode(sha512(path.read_bytes()).digest()).decode()
        packages[Package(name, "1.0.0", f"sha512-{digest}", path.stat().st_size)] = path
    return packages


def packing(registry: dict[Package, Path], calls: list[str]) -> emoji.Pack:
    def pack(package: Package, folder: Path) -> Path:
        calls.append(package.name)
        copy = folder / registry[package].name
        copy.write_bytes(registry[package].read_bytes())
        return copy

    return pack


def test_what_arrives_is_named_and_split(registry: dict[Package, Path], tmp_path: Path) -> None:
    calls: list[str] = []
    folder, packages = tmp_path / "emoji", tuple(registry)
    assert missing(folder, packages) == list(packages)
    assert list(bring(folder, packages, pack=packing(registry, calls))) == list(packages)
    assert missing(folder, packages) == [] and not list(bring(folder, packages, pack=packing(registry, calls)))
    assert calls == ["names", "@some/anim-1"]
    assert not list(tmp_path.rglob("evil.webp")) and not list(tmp_path.rglob("run-me.sh"))
    split = write_tables(folder)
    named = {each.name for each in split.trained} | {each.name for each, _ in split.held_out}
    assert named == {"grinning face", "waving hand: dark skin tone"} and split.stills == 1 and split.nameless == 1
    with (folder / "captions.csv").open() as captions, (folder / "held-out.csv").open() as held_out:
        trained, kept = list(csv.DictReader(captions)), list(csv.DictReader(held_out))
    assert len({row["caption"] for row in trained + kept}) == 4
    assert all((folder / row["file"]).is_file() for row in trained + kept)
    assert not {row["file"] for row in trained} & {row["file"] for row in kept}


def test_it_goes_on_where_it_stopped_and_mends_what_is_damaged(registry: dict[Package, Path], tmp_path: Path) -> None:
    calls: list[str] = []
    folder, packages = tmp_path / "emoji", tuple(registry)
    next(bring(folder, packages, pack=packing(registry, calls)))
    assert [package.name for package in missing(folder, packages)] == ["@some/anim-1"]
    list(bring(folder, packages, pack=packing(registry, calls)))
    (folder / "animations/1f600.webp").write_bytes(b"cut off")
    list(bring(folder, packages, pack=packing(registry, calls)))
    assert calls == ["names", "@some/anim-1", "@some/anim-1"] and is_animated(folder / "animations/1f600.webp")


def test_another_file_than_the_one_that_was_named_is_refused(registry: dict[Package, Path], tmp_path: Path) -> None:
    package = Package("names", "1.0.0", "sha512-AAAA", 1)
    pack = packing({package: next(iter(registry.values()))}, [])
    with pytest.raises(ValueError, match="something else"):
        list(bring(tmp_path / "emoji", (package,), pack=pack))
    assert missing(tmp_path / "emoji", (package,)) == [package] and not list(tmp_path.glob("emoji/parcels/*.tgz"))


def test_captions_say_name_tags_and_tone() -> None:
    toned = Emoji(hexcode="1f44b-1f3ff", name="waving hand: dark skin tone", tags=("bye", "hi"), base="1f44b", tone=5)
    assert toned.captions == ("waving hand, dark skin tone", "waving hand, bye, hi, dark skin tone")
    assert hexcode_of("0023-FE0F-20E3") == hexcode_of("23-fe0f-20e3") == "23-20e3"


def test_the_committed_list_is_what_the_rule_holds_out() -> None:
    with HELD_OUT_LIST.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["why"] == "name" for row in rows) == 88 and sum(row["why"] == "tone" for row in rows) == 263
    tones = {f"1f3f{letter}": number for number, letter in enumerate("bcdef", start=1)}
    for row in rows:
        parts = row["hexcode"].split("-")
        found = {tones[part] for part in parts if part in tones}
        base = "-".join(part for part in parts if part not in tones)
        tone = found.pop() if len(found) == 1 else 0
        each = Emoji(hexcode=row["hexcode"], name=row["name"], tags=(), base=base, tone=tone)
        assert row["why"] == "name" or why_held_out(each) == row["why"], row


def test_without_npm_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["data", "emoji", "-o", str(tmp_path / "emoji")]) == 2
    said = capsys.readouterr().err
    assert "downloading 737 MB" in said and "Node.js" in said


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for npm")
def test_npms_own_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is unreachable' >&2\nexit 1\n")
    npm.chmod(npm.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert main(["data", "emoji", "-o", str(tmp_path / "emoji")]) == 2
    assert "npm error network is unreachable; the same command goes on" in capsys.readouterr().err
