"""Class data: one folder a class, and a prompt or more for each class.

Numbers and WordNet ids are no names: "a photo of a n01440764." measures nothing, so folders called by them need a
classnames.txt. Folders whose names are all numbers are in the order of these, as who numbered them meant, all others in
that of their letters, as torchvision has them.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.pairs.classnames import BEFORE_A_NAME, class_names, class_prompts, distinct
from geomclip.pairs.parsing import check_folder, choose_split, clean
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source
from geomclip.pairs.walking import SPLITS, folders_in, holds_images, images_under, is_image

RULES = (
    "Each folder is a class, images below it at any depth are its images; numbers are in the order of numbers.",
    "Folders called train, val, test, ... are splits if they hold folders and no image directly; beside folders "
    "with images directly in them one that holds images is a class of that name.",
    "Names come from classnames.txt (a name a line in the order of the folders, or FOLDER NAME in any order), else "
    "from the folders: underscores are spaces, a number before each of the names is left out.",
    "Prompts come from zeroshot_classification_templates.txt ({c} is the name), else 'a photo of a {c}.'.",
    "Refused without classnames.txt: folders called by WordNet ids or by numbers alone.",
)


def read(source: Source, root: Path) -> Pairs:
    """The images of all classes, class after class in the order of the folders."""
    check_folder(source, root)
    name = f"imagenet-folder:{root}"
    tally = Tally()
    splits = class_splits(root, tally)
    split = choose_split(source.split, splits, name=name)
    folder = root / split if splits else root
    class_folders = in_order(folders_in(folder, tally))
    if not class_folders:
        raise InputError(f"{name}: {folder} has no subfolders; each class needs one, with its images inside")
    keys = [path.name for path in class_folders]
    names = class_names(keys, (folder, root), tally, name=name, required=source.named)
    classes = distinct(names, tuple(clean(path.name) for path in class_folders))
    pairs, deeper = [], 0
    for label, class_folder in zip(classes, class_folders, strict=True):
        images = images_under(class_folder, tally, shown=class_folder.relative_to(root).as_posix())
        if not images:
            tally.leave_out("classes", "no image in the folder, so only a prompt", class_folder.name)
        tally.use("classes", bool(images))
        for path in images:
            shown = clean(path.relative_to(root).as_posix())
            deeper += path.parent != class_folder
            pairs.append(Pair(shown, ImageFile(path, shown=shown), label=label))
    if not pairs:
        raise InputError(f"{name}: the {len(class_folders)} class folders in {folder} hold no image")
    _refuse_classes_below(class_folders, name)
    stray = sorted(entry.name for entry in folder.iterdir() if is_image(entry.name) and entry.is_file())
    for each in stray:
        tally.leave_out("files", "in no class folder", each)
    if deeper:
        tally.understood(f"images in deeper folders belong to the class of the first ({deeper} do)")
    prompts = class_prompts(names, (folder, root))
    tally.understood(f"prompts such as {prompts[0][0]!r}")
    return Pairs(source.title, split, pairs, classes=classes, class_prompts=prompts, read=tally.read())


def class_splits(root: Path, tally: Tally) -> tuple[str, ...]:
    """Which of the subfolders of `root` are splits; none if they are classes, one of which may be called train."""
    folders = folders_in(root)
    named = [folder for folder in folders if folder.name in SPLITS]
    if not named:
        return ()
    others = [folder for folder in folders if folder not in named]
    flat = [folder for folder in named if holds_images(folder)]
    classes = [folder for folder in others if holds_images(folder)]
    if len(flat) == len(named) and classes:
        return ()
    if len(flat) == len(named) and not others:
        raise InputError(
            f"imagenet-folder:{root}: {' and '.join(f'{folder.name}/' for folder in flat)} "
            f"{'hold' if len(flat) > 1 else 'holds'} images directly, not class folders; "
            "move each image into a folder of its class"
        )
    if classes:
        split = next(folder for folder in named if folder not in flat)
        raise InputError(
            f"imagenet-folder:{root}: {split.name}/ holds folders as a split does, {classes[0].name}/ images as a "
            f"class does; name imagenet-folder:{split} for the classes in it, or move {classes[0].name}/ elsewhere"
        )
    for folder in others:
        tally.leave_out("folders", "beside the splits", folder.name)
    return tuple(name for name in SPLITS if any(folder.name == name for folder in named))


def in_order(folders: list[Path]) -> list[Path]:
    """Folders that are numbers, or have one before their name, in the order of these; others as they are."""
    numbers = _numbers(folders)
    if numbers is None:
        return folders
    twice = [number for number, times in Counter(numbers).items() if times > 1]
    if twice and all(folder.name.isdecimal() for folder in folders):
        alike = [folder.name for folder, number in zip(folders, numbers, strict=True) if number == twice[0]]
        raise InputError(f"{folders[0].parent}: the class folders {' and '.join(alike[:2])} are the same number")
    return [folder for _, folder in sorted(zip(numbers, folders, strict=True))]


def _numbers(folders: list[Path]) -> list[int] | None:
    found = [re.fullmatch(r"(\d{1,18})", folder.name) or BEFORE_A_NAME.match(folder.name) for folder in folders]
    return [int(match[1][:18]) for match in found if match] if all(found) else None


def _refuse_classes_below(folders: list[Path], name: str) -> None:
    """InputError where the classes lie a floor deeper, below folders that are sets or domains."""
    if any(map(holds_images, folders)):
        return
    inner = Counter(folder.name for outer in folders for folder in folders_in(outer))
    repeated = [key for key, times in inner.items() if times > 1 or len(folders) == 1]
    if len(repeated) > 1:
        others = " and the folders beside it hold" if len(folders) > 1 else " holds"
        raise InputError(
            f"{name}: {folders[0].name}/{others} no image directly, but folders that look like the classes "
            f"({', '.join(sorted(repeated)[:3])}): name the folder that they are in, imagenet-folder:{folders[0]}"
        )
