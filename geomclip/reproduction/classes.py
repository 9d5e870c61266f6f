"""Folders of classes with the prompts that the published numbers were taken with, whatever lies beside the folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.files import cache_dir as default_cache
from geomclip.machine.tally import Tally
from geomclip.pairs.classnames import distinct
from geomclip.pairs.imagenet_folder import in_order
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import expanded
from geomclip.pairs.walking import folders_in, images_under
from geomclip.reproduction.rows import Row

KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
SIZES = ("small ", "big ")
CIFAR = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {kind}photo of {article} {{c}}." for kind in KINDS),
        *(f"a photo of {article} {size}{{c}}." for size in SIZES),
    )
)
"""The 18 of data/prompts.md of openai/CLIP, for CIFAR-10 and CIFAR-100."""


def _imagenet_templates() -> tuple[str, ...]:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{c}") for template in OPENAI_IMAGENET_TEMPLATES)


def _imagenet_names() -> tuple[str, ...]:
    from open_clip import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)


TEMPLATES: Mapping[str, Callable[[], tuple[str, ...]]] = {"cifar": lambda: CIFAR, "imagenet": _imagenet_templates}
"""Name to what prompts are made of; {c} is the class."""
NAMES: Mapping[str, Callable[[], tuple[str, ...]]] = {"imagenet": _imagenet_names}
"""Name to what the classes are called, in the order of their folders."""


def searched(row: Row, data_root: str | Path | None, cache_dir: Path | None) -> list[Path]:
    """The folders where the data of a row of classes are looked for."""
    if data_root is None:
        return [default_cache(cache_dir) / "data" / row.data]
    return [expanded(data_root) / row.data]


def found(row: Row, data_root: str | Path | None, cache_dir: Path | None) -> Path | None:
    """The folder of the split; None if there is none."""
    for root in searched(row, data_root, cache_dir):
        for folder in (root / row.split, root):
            if folder.is_dir() and folders_in(folder):
                return folder
    return None


def read(row: Row, data_root: str | Path | None, cache_dir: Path | None, limit: int | None = None) -> Pairs:
    """The images of all classes, with the published prompts.

    Raises
    ------
    NotAvailableError
        If the folder is not there; the message says how to get it.
    InputError
        If there are other classes in it than so many.
    """
    assert row.classes is not None
    folder = found(row, data_root, cache_dir)
    if folder is None:
        root = searched(row, data_root, cache_dir)[0]
        raise NotAvailableError(f"{row.data} is not at {root}: {row.classes.by_hand.format(root=root)}")
    tally = Tally()
    folders = in_order(folders_in(folder, tally))
    if len(folders) != row.classes.count:
        raise InputError(
            f"{folder} has {len(folders):,} folders, and {row.data} has {row.classes.count:,} classes, a folder each"
        )
    keys = [each.name for each in folders]
    names = NAMES[row.classes.names]() if row.classes.names else tuple(key.replace("_", " ") for key in keys)
    classes = distinct(names, tuple(keys))
    pairs = [
        Pair(shown, ImageFile(path, shown=shown), label=label)
        for label, each in zip(classes, folders, strict=True)
        for path in images_under(each, tally, shown=each.name)
        for shown in [path.relative_to(folder).as_posix()]
    ]
    if not pairs:
        raise InputError(f"{folder}: the {len(folders):,} folders of classes hold no image")
    prompts = _prompts(names, TEMPLATES[row.classes.templates]())
    whole = Pairs(row.data, row.split, pairs, classes=classes, class_prompts=prompts, read=tally.read())
    return whole.limited(limit)


def _prompts(names: Sequence[str], templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(template.replace("{c}", name) for template in templates) for name in names)
