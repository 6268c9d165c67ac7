"""Microsoft's animated Fluent emoji, as npm's registry has them: brought once, named, and split before any training.

The animations are MIT-licensed (Microsoft; packed by LobeHub), the names and tags too (emojibase-data, Miles Johnson).
Nothing of either is part of this project.
"""

import base64
import csv
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path
from typing import Any, Final, Literal
from zlib import crc32

ANIMATIONS, PARCELS = "animations", "parcels"
CAPTIONS, HELD_OUT = "captions.csv", "held-out.csv"
_NAMES = "names.json"
_PACKED = re.compile(r"package/assets/([0-9a-z]+(?:[-_][0-9a-z]+)*)\.webp|package/en/data\.json")
_MOST_BYTES = 32 * 2**20  # of one file in a package
_TAGS = 3


@dataclass(frozen=True)
class Package:
    """integrity: what npm calls so, of the packed file; size: in bytes."""

    name: str
    version: str
    integrity: str
    size: int

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"


PACKAGES: Final = (
    Package(
        "emojibase-data",
        "17.0.0",
        "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
        6_711_091,
    ),
    Package(
        "@lobehub/fluent-emoji-anim-1",
        "1.0.0",
        "sha512-/4m31vAuZEQ4aUJ5pxcOU5PVkuJya55GRxUZL7+zgLlxZXpzzE8jPqpDyhZICE3n47nS/Y9M5/vLdizi8201QA==",
        164_966_217,
    ),
    Package(
        "@lobehub/fluent-emoji-anim-2",
        "1.0.0",
        "sha512-S6yzf0RZXrQbXdxCWuHA9BAoLdBRk2flX+ne4TPGEH/qApwisCAKHoAAGjKSlTY3OVeZ9b7t/NEbmpjawnQYJA==",
        181_915_962,
    ),
    Package(
        "@lobehub/fluent-emoji-anim-3",
        "1.0.0",
        "sha512-UzRSUDMjdfdt9vER5bhjHkPqgc3EEgfGtYs6ndvizOTvQOxYQ57ow2RTkWSDZxwW30X4EYBi2eWTS7CXDDoFsg==",
        197_000_910,
    ),
    Package(
        "@lobehub/fluent-emoji-anim-4",
        "1.0.0",
        "sha512-IIkl5ztSd1HrzvIDt/uGsFoC1WODXRdYq5uROrnkyqi9DbToEcJ1nlY86PnoUXeFS9nBCnHfiYk3ouSEGThFmA==",
        185_915_894,
    ),
)

Pack = Callable[[Package, Path], Path]
"""Brings a package's file into a folder and says where it is."""


def missing(folder: Path, packages: Sequence[Package] = PACKAGES) -> list[Package]:
    """The packages of which something is not there yet."""
    return [package for package in packages if not _is_whole(folder, package)]


def bring(folder: Path, packages: Sequence[Package] = PACKAGES, *, pack: "Pack | None" = None) -> Iterator[Package]:
    """Bring what is missing, one package after another, yielding each that is there. Whatever stops it, what is whole
    stays, and the same call goes on.

    Raises: ValueError if npm is not there or fails, or a file is not the one that it should be.
    """
    for package in missing(folder, packages):
        (folder / PARCELS).mkdir(parents=True, exist_ok=True)
        parcel = (pack or npm_pack)(package, folder / PARCELS)
        _check(parcel, package)
        sizes = dict(_unpacked(parcel, folder))
        _list_of(folder, package).write_text(json.dumps({"integrity": package.integrity, "files": sizes}))
        parcel.unlink()
        yield package


def npm_pack(package: Package, folder: Path) -> Path:
    """By npm, so that its settings for registries and proxies hold.

    Raises: ValueError, with npm's own reason.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError("npm brings the emoji, and it is not installed: install Node.js, which has it")
    command = [npm, "pack", package.spec, "--json", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise ValueError(f"npm could not bring {package.spec}: {reasons[0].strip()}; the same command goes on")
    return folder / Path(json.loads(done.stdout)[0]["filename"]).name


def _check(parcel: Path, package: Package) -> None:
    digest = sha512()
    with parcel.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    found = "sha512-" + base64.b64encode(digest.digest()).decode()
    if found != package.integrity:
        parcel.unlink()
        raise ValueError(f"what arrived as {package.spec} is something else ({found[:20]}…): it has been removed")


def _unpacked(parcel: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Name and size of each file that is wanted; nothing else leaves the parcel."""
    (folder / ANIMATIONS).mkdir(exist_ok=True)
    with tarfile.open(parcel) as tar:
        for member in tar:
            wanted = _PACKED.fullmatch(member.name)
            content = tar.extractfile(member) if wanted and member.isfile() and member.size <= _MOST_BYTES else None
            if wanted and content:
                name = f"{ANIMATIONS}/{wanted[1]}.webp" if wanted[1] else _NAMES
                (folder / name).write_bytes(content.read())
                yield name, member.size


def _list_of(folder: Path, package: Package) -> Path:
    return folder / PARCELS / f"{package.name.rpartition('/')[2]}.json"


def _is_whole(folder: Path, package: Package) -> bool:
    try:
        held = json.loads(_list_of(folder, package).read_text())
    except (OSError, ValueError):
        return False
    sizes = held["files"].items() if held.get("integrity") == package.integrity else ()
    return bool(sizes) and all((folder / n).is_file() and (folder / n).stat().st_size == size for n, size in sizes)


# Names


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """hexcode: code points joined by dashes, in lower case, without those that only ask for a picture (fe0f). base: of
    the emoji without a skin tone, itself if it has none. tone: 1 (light) to 5 (dark); 0 if it has none, or several."""

    hexcode: str
    name: str
    tags: tuple[str, ...]
    base: str
    tone: int = 0

    @property
    def captions(self) -> tuple[str, str]:
        """What it is called, and with the first of its tags: "waving hand, dark skin tone" and "waving hand, bye, cya,
        g2g, dark skin tone"."""
        name, _, tone = self.name.partition(": ")
        return ", ".join(filter(None, (name, tone))), ", ".join(filter(None, (name, *self.tags[:_TAGS], tone)))


def hexcode_of(name: str) -> str:
    """Of a file or a table, in one spelling."""
    parts = [part.lstrip("0") for part in name.lower().replace("_", "-").split("-")]
    return "-".join(part for part in parts if part != "fe0f")


def read_names(table: Path) -> dict[str, Emoji]:
    """emojibase's table, by hexcode."""
    found: dict[str, Emoji] = {}

    def take(entry: dict[str, Any], base: str, tags: tuple[str, ...]) -> None:
        tone = entry.get("tone", 0)
        code = hexcode_of(entry["hexcode"])
        found[code] = Emoji(
            hexcode=code, name=entry["label"], tags=tags, base=base, tone=tone if isinstance(tone, int) else 0
        )

    for entry in json.loads(table.read_text(encoding="utf-8")):
        base, tags = hexcode_of(entry["hexcode"]), tuple(entry.get("tags", ()))
        for each in (entry, *entry.get("skins", ())):
            take(each, base, tags)
    return found


def is_animated(webp: Path) -> bool:
    """By the flag in its header (WebP container specification, VP8X)."""
    with webp.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 0b10)


# What is never trained on

HELD_OUT_NAMES: Final = 20
"""One emoji in this many is held out, in all its skin tones."""
SKIN_TONES: Final = 5
"""One skin tone in so many is held out of each of the others that come in several: a model sees the gesture and the
tone, never together."""

Why = Literal["", "name", "tone"]


def why_held_out(emoji: Emoji) -> Why:
    """By a hash of its code points: the same on every machine, for ever."""
    if crc32(f"name|{emoji.base}".encode()) % HELD_OUT_NAMES == 0:
        return "name"
    if emoji.tone and crc32(f"tone|{emoji.base}".encode()) % SKIN_TONES == emoji.tone - 1:
        return "tone"
    return ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Animations with a name: to train on, held out by name, held out by skin tone; and what has no place in either:
    stills, and files without a name."""

    trained: list[Emoji]
    held_out: list[tuple[Emoji, Why]]
    stills: int
    nameless: int


def write_tables(folder: Path) -> Split:
    """captions.csv, of what may be trained on, and held-out.csv: file, caption; the latter also says why."""
    names = read_names(folder / _NAMES)
    trained: list[Emoji] = []
    held_out: list[tuple[Emoji, Why]] = []
    files: dict[str, str] = {}
    stills = nameless = 0
    for file in sorted((folder / ANIMATIONS).glob("*.webp")):
        emoji = names.get(hexcode_of(file.stem))
        if emoji is None:
            nameless += 1
        elif not is_animated(file):
            stills += 1
        elif emoji.hexcode not in files:
            files[emoji.hexcode] = f"{ANIMATIONS}/{file.name}"
            if why := why_held_out(emoji):
                held_out.append((emoji, why))
            else:
                trained.append(emoji)
    rows = [(files[emoji.hexcode], text) for emoji in trained for text in dict.fromkeys(emoji.captions)]
    kept = [(files[e.hexcode], text, why) for e, why in held_out for text in dict.fromkeys(e.captions)]
    _write_csv(folder / CAPTIONS, ("file", "caption"), rows)
    _write_csv(folder / HELD_OUT, ("file", "caption", "why"), kept)
    return Split(trained=trained, held_out=held_out, stills=stills, nameless=nameless)


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
