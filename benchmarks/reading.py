"""How long reading takes beside the plainest loop over the same file, and how much memory a row keeps.

    python benchmarks/reading.py [--rows 200000] [--before CHECKOUT] [--folder DIR] [--out FILE.json] [PART ...]

Each part has a file that is written once, a plain way to go through it, and what geomclip calls it. The ways of a part
run one after another, each in a process of its own; seconds are those that the processor worked. `--before` names a
checkout of an older commit, whose reader is timed too.
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alone import alone, memory_gb
from goal import Goal, report

OURS, PLAIN, BEFORE = "ours", "plain", "before"
MOST_OF_PLAIN, MORE_SECONDS = 1.5, 1.0
SHARE_OF_BEFORE = 1 / 3
BYTES_A_ROW = 1024


@dataclass(frozen=True)
class Part:
    """A kind of file: how it is written, the plain way through it, and its name as data, with or without a root."""

    write: Callable[[Path, int], None]
    plain: Callable[[Path], object]
    data: str
    root: bool = False


def write_tar(place: Path, rows: int) -> None:
    """An image and a text a sample, so that `rows` members make half as many pairs."""
    with tarfile.open(place, "w") as archive:
        for number in range(rows // 2):
            for ending, data in (("jpg", bytes(600)), ("txt", b"a caption of number %d" % number)):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def plain_tar(place: Path) -> object:
    """Names and sizes, as tarfile gives them."""
    with tarfile.open(place, "r:") as archive:
        return [(member.name, member.size) for member in archive]


def write_coco(place: Path, rows: int) -> None:
    """Five captions an image, of the length of COCO's."""
    (place / "annotations").mkdir(parents=True)
    (place / "val2017").mkdir()
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": 480, "width": 640} for number in range(rows // 5)
    ]
    annotations = [
        {"id": row, "image_id": row % (rows // 5), "caption": f"A man rides a wave on top of a surfboard, {row}."}
        for row in range(rows)
    ]
    text = json.dumps({"images": images, "annotations": annotations})
    (place / "annotations/captions_val2017.json").write_text(text, encoding="utf-8")


def plain_coco(place: Path) -> object:
    """What json.load gives."""
    with (place / "annotations/captions_val2017.json").open(encoding="utf-8") as file:
        return json.load(file)


def write_folder(place: Path, rows: int) -> None:
    """A thousand images and their texts in each of several folders."""
    for number in range(rows // 2):
        inner = place / f"{number // 1000:04d}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number:09d}.jpg").touch()
        (inner / f"{number:09d}.txt").write_text(f"a caption of number {number}", encoding="utf-8")


def plain_folder(place: Path) -> object:
    """All texts, in the order of the folders."""
    return [
        Path(parent, name).read_text(encoding="utf-8")
        for parent, _, names in os.walk(place)
        for name in names
        if name.endswith(".txt")
    ]


CAPTION = "A man rides a wave on top of a surfboard in the sea, "


def write_csv(place: Path, rows: int) -> None:
    """A caption a row, an image a row: the most objects that so many rows can become."""
    (place.parent / "0.jpg").touch()  # where no image is there, all are looked for
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title", "source"])
        writer.writerows([f"{row}.jpg", f"{CAPTION}{row}", "web"] for row in range(rows))


def plain_csv(place: Path) -> object:
    """A dictionary a row."""
    with place.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_parquet(place: Path, rows: int) -> None:
    """The same as parquet."""
    import pyarrow
    import pyarrow.parquet

    (place.parent / "0.jpg").touch()
    columns = {"filepath": [f"{row}.jpg" for row in range(rows)], "title": [f"{CAPTION}{row}" for row in range(rows)]}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "source": ["web"] * rows}), place)


def plain_parquet(place: Path) -> object:
    """A dictionary a row."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(place).to_pylist()


PARTS = {
    "csv": Part(write_csv, plain_csv, "csv:"),
    "parquet": Part(write_parquet, plain_parquet, "parquet:"),
    "tar": Part(write_tar, plain_tar, "wds:"),
    "coco": Part(write_coco, plain_coco, "coco", root=True),
    "folder": Part(write_folder, plain_folder, "folder:"),
}


def read(part: Part, place: Path) -> object:
    """The pairs, by whichever geomclip is first on the path."""
    try:
        from geomclip.pairs import Source, load_pairs
    except ImportError:  # before sources were records
        from geomclip.pairs import load_pairs

        return load_pairs(part.data, data_root=place) if part.root else load_pairs(f"{part.data}{place}")
    return load_pairs(Source(part.data, data_root=place) if part.root else Source(f"{part.data}{place}"))


def one(name: str, way: str, place: Path) -> None:
    """Time one way of one part; a line of JSON."""
    part = PARTS[name]
    # imports are no part of reading
    import msgspec  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import geomclip.pairs  # noqa: F401

    before, worked = memory_gb("VmRSS"), time.process_time()
    kept = part.plain(place) if way == PLAIN else read(part, place)
    worked = time.process_time() - worked
    gc.collect()
    print(json.dumps({"seconds": worked, "kept_bytes": (memory_gb("VmRSS") - before) * 2**30, "rows": len(kept)}))  # type: ignore[arg-type]


def main() -> None:
    """Each part by each way, and whether each goal is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as fresh:
        folder = options.folder or Path(fresh)
        for name in options.parts:
            place = folder / f"{name}-{options.rows}"
            if not place.exists():
                PARTS[name].write(place, options.rows)
            found = ways(name, place, options.before)
            rows.append({"file": name} | {f"CPU s, {way}": each["seconds"] for way, each in found.items()})
            goals += goals_of(name, options.rows, found)
    report(f"Reading {options.rows:,} rows", goals, rows, options.out)


def ways(name: str, place: Path, before: Path | None) -> dict[str, dict[str, float]]:
    """What each way of a part took and kept."""
    trees: dict[str, Path | None] = {PLAIN: None, OURS: None} | ({} if before is None else {BEFORE: before})
    return {way: alone(__file__, "--one", name, way, place, tree=tree) for way, tree in trees.items()}


def goals_of(name: str, rows: int, found: dict[str, dict[str, float]]) -> Iterator[Goal]:
    """Of one part: time beside the plain loop, memory a row, and time beside an older commit if that was asked."""
    plain, ours = found[PLAIN]["seconds"], found[OURS]["seconds"]
    why = f"{rows:,} rows; {MOST_OF_PLAIN:g} times the {plain:.2f} s of the plain loop, and {MORE_SECONDS:g} s"
    yield Goal(f"reading: {name}", ours, MOST_OF_PLAIN * plain + MORE_SECONDS, "s", why=why)
    yield Goal(f"memory of a row: {name}", found[OURS]["kept_bytes"] / rows, BYTES_A_ROW, "bytes", why="once read")
    if BEFORE in found:
        yield Goal(f"beside before: {name}", ours / found[BEFORE]["seconds"], SHARE_OF_BEFORE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
