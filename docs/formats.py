"""docs/formats.md, written from the rules of the readers: `make readme`."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from geomclip.pairs import DATASETS

WIDTH = 119
PAGE = Path(__file__).resolve().with_suffix(".md")

BEGIN = """# Files that are read

Written by `docs/formats.py` from the `RULES` of each reader (`make readme`). What a reader leaves out it counts: the
result (`made_from`, `read`) has what was seen, used and left out and why, with up to five names; from 10 of a kind, or
1 % of it, a warning says so too. What was found out rather than said (a separator, the name of a column) stands under
the head of the panel, after `read:`. What cannot be read is refused in one line that names the file, the row or column
and the way out. Nothing is fetched but what is named by its address ([remote](remote.md)), nothing is unpickled, and
no path leaves the folder that was named, but those of tables, which may be absolute.
"""


class Section(NamedTuple):
    """A part of the page: what it is called, a command that reads such files, and the modules whose rules hold."""

    title: str
    command: str
    modules: tuple[str, ...]


SECTIONS = (
    Section(
        "Tables: csv, tsv, jsonl, json, parquet",
        "geomclip measure --data csv:pairs.csv --image-root photos",
        (
            "geomclip.pairs.table",
            *(
                f"geomclip.pairs.tables.{part}"
                for part in (
                    "shards",
                    "names",
                    "cells",
                    "paths",
                    "separated",
                    "json_rows",
                    "arrow",
                    "labels",
                    "queries",
                    "fetched",
                )
            ),
        ),
    ),
    Section("A folder of images and texts", "geomclip measure --data folder:photos", ("geomclip.pairs.folder",)),
    Section("Tars of webdataset", "geomclip measure --data wds:shards/{000..012}.tar", ("geomclip.pairs.wds",)),
    Section(
        "Captions in .txt and .json beside an image, in folders and tars",
        "geomclip measure --data wds:00000.tar",
        ("geomclip.pairs.beside",),
    ),
    Section("Folders of classes", "geomclip measure --data imagenet-folder:val", ("geomclip.pairs.imagenet_folder",)),
    Section("CIFAR in its binary version", "geomclip measure --data cifar-bin:cifar10", ("geomclip.pairs.cifar",)),
    Section("Arrays of images and labels", "geomclip measure --data npz:cifar10.npz", ("geomclip.pairs.arrays",)),
    Section("COCO", "geomclip measure --data coco --data-root coco", ("geomclip.pairs.coco",)),
    Section(
        "Karpathy's lists: coco-karpathy, flickr8k, flickr30k",
        "geomclip measure --data coco-karpathy --data-root coco --split test",
        ("geomclip.pairs.karpathy",),
    ),
    Section(
        "Flickr8k and Flickr30k in other files",
        "geomclip measure --data flickr8k --data-root flickr8k",
        ("geomclip.pairs.flickr",),
    ),
    Section("Images", "geomclip extract --data folder:photos --out store", ("geomclip.pairs.images",)),
    Section(
        "Vectors",
        "geomclip measure --embeddings image=images.npy,text=texts.npy",
        ("geomclip.embeddings.files.gather",),
    ),
)


def page() -> str:
    """The whole page."""
    names = "\n".join(f"| `{dataset.name}{dataset.follows}` | {dataset.description} |" for dataset in DATASETS.values())
    parts = [BEGIN, f"| `--data` | is |\n|---|---|\n{names}\n", *map(_section, SECTIONS)]
    return "\n".join(parts)


def _section(section: Section) -> str:
    lines = [f"## {section.title}\n", f"<!-- not run: the files are yours -->\n```bash\n{section.command}\n```\n"]
    for name in section.modules:
        if len(section.modules) > 1:
            lines.append(f"### {_caption(name)}\n")
        lines += [_bullets(importlib.import_module(name).RULES), ""]
    return "\n".join(lines)


def _caption(name: str) -> str:
    """The first line of a module's docstring, as a heading."""
    return str(importlib.import_module(name).__doc__).partition("\n")[0].rstrip(".")


def _bullets(rules: tuple[str, ...]) -> str:
    return "\n".join(_wrapped(_escaped(rule)) for rule in rules)


def _wrapped(rule: str) -> str:
    return textwrap.fill(
        rule, WIDTH, initial_indent="* ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _escaped(rule: str) -> str:
    """A rule as Markdown shows it: signs that would be markup stand for themselves, but in code."""
    parts = rule.split("`")
    return "`".join(
        part if place % 2 else re.sub(r"(?<!\w)_|_(?!\w)|[*<]", r"\\\g<0>", part) for place, part in enumerate(parts)
    )


def readers(package: Path) -> list[str]:
    """The modules of a package that say by which rules they read."""
    return sorted(
        ".".join(("geomclip", *file.relative_to(package).with_suffix("").parts))
        for folder in ("pairs", "embeddings")
        for file in (package / folder).rglob("*.py")
        if any(
            isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "RULES" for target in node.targets)
            for node in ast.parse(file.read_text(encoding="utf-8")).body
        )
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
