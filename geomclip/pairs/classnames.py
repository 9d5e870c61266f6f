"""The names of classes and the prompts made of them: CLIP_benchmark's classnames.txt and templates."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import caption, captions_by_line, clean, read_text, shorten

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
DEFAULT_TEMPLATE = "a photo of a {c}."

WORDNET = re.compile(r"n\d{8}")
BEFORE_A_NAME = re.compile(r"(\d+)[ _.-]+(?=[^\W\d])")
_SERIAL = re.compile(r"([^0-9]*)([0-9]{1,18})")


def class_names(
    keys: list[str],
    places: tuple[Path, ...],
    tally: Tally,
    *,
    name: str,
    what: str = "class folders",
    required: bool = True,
) -> tuple[str, ...]:
    """What the classes of these keys are called in prompts: from the first classnames.txt in `places`, else from them.

    `name` and `what` are what messages call the data and the keys; without `required` numbers and ids are names too.
    """
    named = read_class_names(places, tally, folders=keys, what=what)
    if named:
        return named
    wordnet = next(filter(WORDNET.fullmatch, keys), None)
    if not required and (wordnet or are_numbers(keys)):
        return tuple(map(clean, keys))
    if wordnet or are_numbers(keys):
        kind = "WordNet ids" if wordnet else "numbers"
        few = f"{', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
        how = f"one a line in the order of the {what.removeprefix('class ')} ({few})"
        if _by_number(keys) != keys:  # of two orders neither is plain
            how = f"a line for each of the {what.removeprefix('class ')} that begins with it ({keys[0]} NAME)"
        raise InputError(
            f"{name}: the {what} are called by {kind} ({wordnet or keys[0]}), which are "
            f"no names for prompts; write the names into {places[-1] / CLASS_NAMES}, {how}"
        )
    if len(keys) > 1 and all(map(BEFORE_A_NAME.match, keys)):
        tally.understood(f"the numbers before the names of the {what} are no part of them ({shorten(keys[0])})")
        keys = [BEFORE_A_NAME.sub("", key, count=1) for key in keys]
    return tuple(clean(key).replace("_", " ").strip() for key in keys)


def read_class_names(
    places: tuple[Path, ...], tally: Tally, *, folders: list[str] | None = None, what: str = "class folders"
) -> tuple[str, ...]:
    """The names in the first classnames.txt in `places`, in the order of `folders`; none where there is no such file.

    Where each line begins with the name of a folder, that says which class it names. Blank lines at the end are
    nothing. Those between names are left out where as many names as folders remain; else a class would lose its
    name and all after it get another's, so they are refused.
    """
    file = next((place / CLASS_NAMES for place in places if (place / CLASS_NAMES).is_file()), None)
    if file is None:
        return ()
    return names_of_lines(file, tally, folders=folders, where=str(file.parent), what=what)


def names_of_lines(
    file: Path, tally: Tally, *, folders: list[str] | None = None, where: str = "", what: str = "class folders"
) -> tuple[str, ...]:
    """The names in a file of lines, as `read_class_names` reads classnames.txt; `where` is what messages call the data.

    Raises
    ------
    InputError
        If the file is empty, has not as many names as there are folders, or their order is not plain.
    """
    lines = [caption(line) for line in re.split(r"\r\n|\r|\n", read_text(file))]
    while lines and not lines[-1]:
        lines.pop()
    names = tuple(line for line in lines if line)
    if not names:
        raise InputError(f"{file} is empty; write the name of a class into each line")
    blank = lines.index("") + 1 if "" in lines else 0
    if blank and (folders is None or len(names) != len(folders)):
        raise InputError(f"{file}: line {blank} is blank: write the name of its class there, or take the line out")
    tally.leave_out("lines", f"blank in {file.name}", f"line {blank}", lines.count(""))
    if folders is None:
        return names
    if len(names) != len(folders):
        raise InputError(f"{where}: {file.name} has {len(names)} names for {len(folders)} {what}")
    by_folder = _by_folder(names, folders)
    if by_folder:
        tally.understood(f"the lines of {file.name} begin with the folders that they name")
        return by_folder
    if serial(folders):
        by_number = _by_number(folders)
        if by_number != folders:
            raise InputError(
                f"{where}: {file.name} may be in the order of the letters ({', '.join(folders[:3])}) "
                f"or of their numbers ({', '.join(by_number[:3])}); begin each of its lines with its folder: "
                f"{folders[0]} NAME"
            )
    return names


def serial(folders: list[str]) -> bool:
    """Whether names differ by a number at their end alone (class_1, class_2; 0, 1; WordNet ids).

    >>> serial(["class_1", "class_12"]), serial(["cat", "dog1"])
    (True, False)
    """
    found = [_SERIAL.fullmatch(folder) for folder in folders]
    return all(found) and len({match[1] for match in found if match}) == 1


def are_numbers(folders: list[str]) -> bool:
    """Whether folders are called by numbers: 0, 1, 5; class7; person1, person2, person3; but not A320, A330.

    >>> are_numbers(["person1", "person2"]), are_numbers(["A320", "A330"]), are_numbers(["class7"])
    (True, False, True)
    """
    if not serial(folders):
        return False
    found = [match for folder in folders if (match := _SERIAL.fullmatch(folder))]
    numbers = {int(match[2][:18]) for match in found}
    word = found[0][1].strip(" _.-").lower()
    counted = len(numbers) > 1 and max(numbers) - min(numbers) + 1 == len(folders)
    return counted or word in ("", "class", "label", "category", "cls", "c", "id")


def _by_number(folders: list[str]) -> list[str]:
    """Names that differ by a number at their end in the order of these; others as they are."""
    if not serial(folders):
        return folders
    return sorted(folders, key=lambda folder: int(folder[len(folder.rstrip("0123456789")) :]))


def _by_folder(lines: tuple[str, ...], folders: list[str]) -> tuple[str, ...]:
    """The names by the folders that the lines begin with; none if they do not.

    A tab may follow any folder. White space or a comma follows numbers and ids alone: in "red circle" the folder red
    is half of the name.
    """
    between = r"[\s,:;]+" if serial(folders) else r"\s*\t\s*"
    parts = [re.split(between, line, maxsplit=1) for line in lines]
    if any(len(each) < 2 or not all(each) for each in parts):
        return ()
    found: dict[str, str] = {folder: name for folder, name in parts}
    return tuple(found[folder] for folder in folders) if sorted(found) == sorted(folders) else ()


def class_prompts(names: tuple[str, ...], places: tuple[Path, ...]) -> tuple[tuple[str, ...], ...]:
    """One tuple of prompts a class, from the first template file in `places`."""
    file = next((place / TEMPLATES for place in places if (place / TEMPLATES).is_file()), None)
    templates = (captions_by_line(read_text(file)) if file else ()) or (DEFAULT_TEMPLATE,)
    for template in templates:
        if "{c}" not in template:
            raise InputError(f"{TEMPLATES} in {places[-1]}: {template[:80]!r} has no {{c}} for the class name")
    return tuple(tuple(template.replace("{c}", name) for template in templates) for name in names)


def distinct(names: tuple[str, ...], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Names that tell classes apart: those that occur twice (ImageNet's crane) get what else is known.

    >>> distinct(("crane", "fox", "crane"), ("n01", "n02", "n03"))
    ('crane (n01)', 'fox', 'crane (n03)')
    """
    times = Counter(names)
    return tuple(f"{name} ({other})" if times[name] > 1 else name for name, other in zip(names, otherwise, strict=True))
