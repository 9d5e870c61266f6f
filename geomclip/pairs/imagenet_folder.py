"""Class data: one folder a class, and a prompt or more for each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.pairs.parsing import (
    captions_by_line,
    check_folder,
    choose_split,
    clean,
    counted,
    folder_splits,
    images_under,
    read_text,
)
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source

DEFAULT_TEMPLATE = "a photo of a {c}."


def read(source: Source, root: Path) -> Pairs:
    """The images of all classes, class after class in the order of the folders' names.

    Names come from `classnames.txt` (one a line, in the order of the folders) where there is one, else from
    the folders, underscores read as spaces; prompts from `zeroshot_classification_templates.txt` ({c} stands
    for the name), else "a photo of a {c}.". Both are CLIP_benchmark's files.
    """
    check_folder(source, root)
    name = f"imagenet-folder:{root}"
    splits = folder_splits(root)
    split = choose_split(source.split, splits, name=name)
    folder = root / split if splits else root
    class_folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not class_folders:
        raise InputError(f"{name}: {folder} has no subfolders; each class needs one, with its images inside")
    names = read_class_names((folder, root)) or tuple(clean(path.name).replace("_", " ") for path in class_folders)
    if len(names) != len(class_folders):
        raise InputError(f"{root}: classnames.txt has {len(names)} names for {len(class_folders)} class folders")
    classes = distinct(names, tuple(clean(path.name) for path in class_folders))
    pairs = []
    empty = 0
    for label, class_folder in zip(classes, class_folders, strict=True):
        images = images_under(class_folder)
        empty += not images
        for path in images:
            shown = clean(path.relative_to(root).as_posix())
            pairs.append(Pair(shown, ImageFile(path, shown=shown), label=label))
    if not pairs:
        raise InputError(f"{name}: the {len(class_folders)} class folders in {folder} hold no image")
    return Pairs(
        source.title,
        split,
        pairs,
        classes=classes,
        class_prompts=class_prompts(names, (folder, root)),
        notes=counted((empty, "{n} classes have no image")),
    )


def read_class_names(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """The lines of the first classnames.txt in `folders`; none where there is no such file."""
    return _lines("classnames.txt", folders)


def class_prompts(names: tuple[str, ...], folders: tuple[Path, ...]) -> tuple[tuple[str, ...], ...]:
    """One tuple of prompts a class, from the first template file in `folders`."""
    file_name = "zeroshot_classification_templates.txt"
    templates = _lines(file_name, folders) or (DEFAULT_TEMPLATE,)
    for template in templates:
        if "{c}" not in template:
            raise InputError(f"{file_name} in {folders[-1]}: {template[:80]!r} has no {{c}} for the class name")
    return tuple(tuple(template.replace("{c}", name) for template in templates) for name in names)


def distinct(names: tuple[str, ...], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Names that tell classes apart: those that occur twice (ImageNet's crane) get what else is known.

    >>> distinct(("crane", "fox", "crane"), ("n01", "n02", "n03"))
    ('crane (n01)', 'fox', 'crane (n03)')
    """
    times = Counter(names)
    return tuple(f"{name} ({other})" if times[name] > 1 else name for name, other in zip(names, otherwise, strict=True))


def _lines(file_name: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    for folder in folders:
        if (folder / file_name).is_file():
            return captions_by_line(read_text(folder / file_name))
    return ()
