"""The same emoji in other hands: free styles from npm, as tables that `geomclip evaluate --task shift` reads.

    python analyses/fetch_emoji_styles.py STYLES
    geomclip evaluate --task shift --data csv:STYLES/openmoji.csv --label-column name --image-id-column image_id \
        --family twemoji=csv:STYLES/twemoji.csv --family noto=csv:STYLES/noto.csv

Each style is a package of Iconify (icons.json, chars.json, info.json). A picture belongs to an emoji by its
characters, so a style has the concepts, names, groups and splits of the built-in data (openmoji.csv), and image ids by
which an interval knows that two styles draw one thing. The sums that npm states are checked; nothing of a package is
unpacked, four of its files are read; a licence that is not known to be free is refused. STYLES/LICENCES.txt says whose
the pictures are.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resvg_py import svg_to_bytes

from geomclip.machine.addresses import open_address
from geomclip.machine.words import one_line
from geomclip.pairs.emoji import EMOJI_LICENCE, EMOJI_SPLITS, IMAGE_SIZE, EmojiImage, emoji_pairs
from geomclip.pairs.parsing import inside
from geomclip.pairs.record import Pair

STYLES = {
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "noto": "@iconify-json/noto@1.2.9",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fluent-high-contrast": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
}
SOURCE = "openmoji"
FREE = ("Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "MIT", "OFL-1.1")
NOT_FREE = re.compile(r"\b(apple|facebook|messenger|whatsapp|samsung|joypixels)\b", re.IGNORECASE)
"""Hands whose pictures are not free, whatever a package that carries them says."""
FILES = ("package.json", "info.json", "chars.json", "icons.json")
MOST_METADATA, MOST_PACKED, MOST_UNPACKED = 1 << 22, 1 << 25, 1 << 27
"""Bytes of what npm says of a package, of the package, and of what is in it: the largest has 3 and 26 million."""
TIMEOUT = 60.0
REACHES_OUT = re.compile(r"<!|<image|<script|href\s*=\s*[\"'](?!#)|url\(\s*[\"']?(?!#)", re.IGNORECASE)
"""What a picture could reach another file by."""
BOX = ("left", "top", "width", "height")
KEPT = ("group", "subgroup", "concept")
COLUMNS = ("filepath", "title", "name", "image_id", *KEPT, "split")


@dataclass(frozen=True)
class Style:
    """A package that was checked: whose pictures, under which licence, and the picture of each emoji."""

    name: str
    package: str
    integrity: str
    author: str
    licence: str
    pictures: Mapping[str, str]  # code points in lower case, without FE0F, to SVG


def of_npm() -> str:
    """The registry that npm is set to; SystemExit without npm."""
    try:
        done = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("npm is not there to say its registry: name one with --registry") from None
    return done.stdout.strip()


def fetched(name: str, package: str, registry: str) -> Style:
    """A style from a registry; SystemExit where a sum, an archive or a licence is not as it should be."""
    scoped, _, version = package.rpartition("@")
    about = _json(_get(f"{registry.rstrip('/')}/{scoped.replace('/', '%2F')}/{version}", MOST_METADATA), package)
    dist = about.get("dist")
    integrity, address = (dist.get(key) if isinstance(dist, dict) else None for key in ("integrity", "tarball"))
    if not isinstance(integrity, str) or not isinstance(address, str):
        raise SystemExit(f"{package}: the registry states no address with a sum")
    archive = _get(address, MOST_PACKED)
    check_sum(archive, integrity, package)
    content = read_archive(archive, package)
    author, licence = licence_of(content, package)
    return Style(name, package, integrity, author, licence, dict(pictures_of(content, package)))


def check_sum(archive: bytes, integrity: str, package: str) -> None:
    """SystemExit unless the archive has the sha512 that is stated, as npm writes it."""
    stated = [each.removeprefix("sha512-") for each in integrity.split() if each.startswith("sha512-")]
    if not stated:
        raise SystemExit(f"{package}: the registry states no sha512, but {integrity[:80]!r}")
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() not in stated:
        raise SystemExit(f"{package}: what came has another sha512 than the registry states: not read")


def read_archive(archive: bytes, package: str) -> dict[str, Any]:
    """The JSON of the files of a package that are read; SystemExit for a name that leaves it, a link, or too much."""
    found = {}
    try:
        unpacker = zlib.decompressobj(wbits=31)  # gzip
        unpacked = unpacker.decompress(archive, MOST_UNPACKED)
        if not unpacker.eof and not unpacker.unconsumed_tail:
            raise SystemExit(f"{package} cannot be read: it is cut short")
        if not unpacker.eof:
            raise SystemExit(f"{package} would grow to more than {MOST_UNPACKED >> 20} MiB: not read")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as members:
            for member in members:
                inside(Path(), member.name, entry=package)
                if not (member.isfile() or member.isdir()):
                    raise SystemExit(f"{package}: {one_line(member.name, 100)} is no plain file: not read")
                name = member.name.removeprefix("package/")
                if name in FILES and member.isfile():
                    file = members.extractfile(member)
                    assert file is not None
                    found[name] = _json(file.read(), f"{package}, {name}")
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as problem:
        raise SystemExit(f"{package} cannot be read: {one_line(problem, 200)}") from problem
    if absent := [name for name in FILES if name not in found]:
        raise SystemExit(f"{package} has no {', '.join(absent)}: it is no set of icons with their characters")
    return found


def licence_of(content: Mapping[str, Any], package: str) -> tuple[str, str]:
    """Who drew the pictures, and their licence; SystemExit unless the package says twice that it is a free one."""
    info = content["info.json"]
    author, licence = (info.get(key) if isinstance(info.get(key), dict) else {} for key in ("author", "license"))
    stated, again = licence.get("spdx"), content["package.json"].get("license")
    who = f"{author.get('name') or '?'} ({author.get('url') or 'no address'})"
    if stated not in FREE:
        raise SystemExit(f"{package}: licence {stated!r} is not known to be free ({', '.join(FREE)}): not taken")
    if again != stated:
        raise SystemExit(f"{package}: its pictures are said to be {stated}, the package {again!r}: not taken")
    if owner := NOT_FREE.search(f"{package} {info.get('name')} {who}"):
        raise SystemExit(f"{package}: pictures of {owner[0]} are not free: not taken")
    return one_line(who, 200), f"{stated}, {one_line(licence.get('url') or 'no address', 200)}"


def pictures_of(content: Mapping[str, Any], package: str) -> Iterator[tuple[str, str]]:
    """Code points and SVG of every picture; SystemExit for one that reaches for other files."""
    icons, sizes = content["icons.json"].get("icons"), content["icons.json"]
    if not isinstance(icons, dict):
        raise SystemExit(f"{package}: icons.json has no icons")
    for code, name in content["chars.json"].items():
        icon = icons.get(name) if isinstance(name, str) else None
        if icon is None:
            continue
        body = icon.get("body") if isinstance(icon, dict) else None
        if not isinstance(body, str):
            raise SystemExit(f"{package}: the picture {name!r} has no body")
        if REACHES_OUT.search(body):
            raise SystemExit(f"{package}: the picture {name!r} names another file, or a script: not drawn")
        box = [icon.get(key, sizes.get(key, 0 if key in ("left", "top") else 16)) for key in BOX]
        if not all(isinstance(side, int | float) for side in box):
            raise SystemExit(f"{package}: the picture {name!r} has no size of numbers")
        yield (
            code.lower().replace("-fe0f", ""),
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="black" '
            f'viewBox="{" ".join(f"{side:g}" for side in box)}">{body}</svg>',
        )


def write(name: str, out: Path, splits: list[str], picture: Callable[[Pair], bytes | None]) -> tuple[int, list[str]]:
    """The pictures and the table of a style: how many there are, and the emoji that it lacks."""
    (out / name).mkdir()
    rows, lacking = [], []
    for split in splits:
        for pair in emoji_pairs(split).pairs:
            content = picture(pair)
            if content is None:
                lacking.append(pair.image_id)
                continue
            file, called, known = f"{name}/{pair.image_id}.png", pair.captions[0], dict(pair.columns)
            (out / file).write_bytes(content)
            rows.append([file, called, called, pair.image_id, *(known[column] for column in KEPT), split])
    with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    return len(rows), lacking


def picture_of(style: Style, size: int) -> Callable[[Pair], bytes | None]:
    """What gives the picture of an emoji in a style; None for one that the style lacks."""

    def picture(pair: Pair) -> bytes | None:
        svg = style.pictures.get(pair.image_id.lower().replace("-fe0f", ""))
        return None if svg is None else drawn(svg, size, f"{style.package}, {pair.image_id}")

    return picture


def openmoji(size: int) -> Callable[[Pair], bytes]:
    """The same of the built-in pictures."""
    return lambda pair: EmojiImage(pair.image_id, size).read()


def drawn(svg: str, size: int, what: str) -> bytes:
    """A picture as PNG on white, as those of OpenMoji are read; SystemExit where it is none."""
    try:
        return bytes(svg_to_bytes(svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True))
    except ValueError as problem:
        raise SystemExit(f"{what} cannot be drawn: {one_line(problem, 200)}") from problem


def licences(styles: list[Style], size: int) -> str:
    """What stands beside the pictures: whose they are, and what was done to them."""
    parts = [
        f"{style.name}/\n  pictures: {style.author}\n  licence: {style.licence}\n"
        f"  from: npm {style.package}\n  {style.integrity}\n  changed: drawn as PNG, {size} pixels, on white\n"
        for style in styles
    ]
    return "\n".join([f"{SOURCE}/\n  {EMOJI_LICENCE}\n  changed: drawn as PNG, {size} pixels, on white\n", *parts])


def _get(address: str, most: int) -> bytes:
    try:
        with open_address(urllib.request.Request(address), timeout=TIMEOUT) as answer:
            content: bytes = answer.read(most + 1)
    except (OSError, ValueError) as problem:
        raise SystemExit(f"{one_line(address, 200)}: {one_line(problem, 200)}") from problem
    if len(content) > most:
        raise SystemExit(f"{one_line(address, 200)} has more than {most >> 20} MiB: not read")
    return content


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise SystemExit(f"{what} is no JSON: {one_line(problem, 200)}") from problem
    if not isinstance(found, dict):
        raise SystemExit(f"{what} is no JSON object")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Fetch and check all styles, then write all of them or none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder that is not there yet, or is empty")
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES))
    parser.add_argument("--splits", nargs="+", choices=EMOJI_SPLITS, default=["test"])
    parser.add_argument("--size", type=int, default=IMAGE_SIZE, help="pixels")
    parser.add_argument("--registry", default="", help="left out: NPM_CONFIG_REGISTRY, else that of npm")
    asked = parser.parse_args(arguments)
    out: Path = asked.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SystemExit(f"{out} is there already: name a new folder")
    registry = asked.registry or os.environ.get("NPM_CONFIG_REGISTRY") or of_npm()
    styles = [fetched(name, STYLES[name], registry) for name in dict.fromkeys(asked.styles)]
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        splits = list(dict.fromkeys(asked.splits))
        count, _ = write(SOURCE, fresh, splits, openmoji(asked.size))
        print(f"{SOURCE:<21} {count:>5} pictures, CC-BY-SA-4.0")
        for style in styles:
            count, lacking = write(style.name, fresh, splits, picture_of(style, asked.size))
            without = f"; it lacks {len(lacking)} ({', '.join(lacking[:3])}, ...)" if lacking else ""
            print(f"{style.name:<21} {count:>5} pictures, {style.licence.partition(',')[0]}{without}")
        (fresh / "LICENCES.txt").write_text(licences(styles, asked.size), encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


if __name__ == "__main__":
    main()
