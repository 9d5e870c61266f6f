"""Names of classes and prompts from files that are named: a line each, a JSON list, JSON by set or by class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import nearest
from geomclip.pairs.classnames import WORDNET, distinct, names_of_lines
from geomclip.pairs.parsing import caption, captions_by_line, first_repeated, need, parse_json, read_bytes, read_text
from geomclip.pairs.parsing import shorten as quoted
from geomclip.pairs.source import expanded

PLACEHOLDERS = ("{c}", "{}")
"""Where the name of a class goes: as CLIP_benchmark writes it, and as open_clip does."""
_WITH_ID = re.compile(rf" \({WORDNET.pattern}\)$")
NAMED = 5
"""Names that a message has at most."""


def class_names_from(file: str | Path, classes: Sequence[str], title: str) -> tuple[str, ...]:
    """What the classes of some data are called in prompts, by a file, in the order of the classes.

    Parameters
    ----------
    file : path
        A name a line, or class and name (`n01440764 tench`); a JSON list; JSON by the names of sets, whose own is
        taken, or the one behind the colon of `names.json:SET`; a JSON object of class and name; ImageNet's
        imagenet_class_index.json, of whose classes the data may have some.
    classes : sequence of str
        What the data call their classes.
    title : str
        What messages call the data; its set is looked for by this name.

    Raises
    ------
    InputError
        If there are not as many names as classes, one stands twice, or names and classes are the same words in
        contradiction.
    """
    path, wanted = _set_in(file)
    if path.suffix.lower() != ".json":
        names = names_of_lines(path, Tally(), folders=list(classes), where=title, what="classes")
    else:
        names = _names_of_json(path, wanted, classes, title)
    again = first_repeated(names)
    if again is not None:
        places = [str(place + 1) for place, name in enumerate(names) if name == again]
        raise InputError(f"{path}: {quoted(again)} is the name of classes {' and '.join(places[:2])}: tell them apart")
    return _by_the_same_words(names, classes, path, title)


def _names_of_json(path: Path, wanted: str, classes: Sequence[str], title: str) -> tuple[str, ...]:
    content = _json(path)
    if isinstance(content, dict) and not wanted and (index := _class_index(content)):
        return _of_index(index, classes, path, title)
    if isinstance(content, dict) and content and all(isinstance(each, str) for each in content.values()):
        _check_both(list(content), classes, path, title)
        return tuple(caption(content[each]) for each in classes)
    found = need(_of_set(content, wanted, path, title), list, entry=f"{path}: the names")
    names = tuple(caption(need(name, str, entry=f"{path}: name {place + 1}")) for place, name in enumerate(found))
    if len(names) != len(classes):
        raise InputError(f"{path} has {_some(names, 'names')}, {title} has {_some(classes, 'classes')}")
    return names


def _class_index(content: Mapping[str, Any]) -> dict[str, str]:
    """WordNet id and name of ImageNet's classes in order, of {"0": ["n01440764", "tench"], ...}; {} of another object.

    Names that two classes have (crane, maillot) are followed by the id.
    """
    rows = [content.get(str(number)) for number in range(len(content))]
    found: dict[str, str] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and all(isinstance(each, str) for each in row)):
            return {}
        if not WORDNET.fullmatch(row[0]):
            return {}
        found[row[0]] = caption(row[1].replace("_", " "))
    return (
        dict(zip(found, distinct(tuple(found.values()), tuple(found)), strict=True)) if len(found) == len(rows) else {}
    )


def _of_index(index: Mapping[str, str], classes: Sequence[str], path: Path, title: str) -> tuple[str, ...]:
    """The names of classes that are called by WordNet ids, or by their numbers in the index."""
    by_number = dict(zip(map(str, range(len(index))), index.values(), strict=True))
    by_id = any(each in index for each in classes)
    known = index if by_id else by_number
    if absent := [each for each in classes if each not in known]:
        what = "WordNet ids" if by_id else "WordNet ids or numbers"
        raise InputError(f"{path} names {len(index)} classes by {what}, not {_some(absent, 'classes')} of {title}")
    return tuple(known[each] for each in classes)


def without_id(name: str) -> str:
    """A name as prompts have it: without the WordNet id that tells two classes of one name apart.

    Examples
    --------
    >>> without_id("crane (n02012849)"), without_id("fox (red)")
    ('crane', 'fox (red)')
    """
    return _WITH_ID.sub("", name)


def _by_the_same_words(names: tuple[str, ...], classes: Sequence[str], path: Path, title: str) -> tuple[str, ...]:
    """The names, by the words of the classes where both are the same words; InputError where only some are, crossed."""
    called = {_plain(each): place for place, each in enumerate(classes)}
    own = [_plain(each) for each in names]
    if len(called) == len(classes) and set(own) == set(called):
        return tuple(names[own.index(each)] for each in map(_plain, classes))
    for place, name in enumerate(own):
        if called.get(name, place) != place:
            raise InputError(
                f"{path}: name {place + 1} is {quoted(names[place])}, class {place + 1} of {title} is "
                f"{quoted(classes[place])}, and its class {called[name] + 1} is {quoted(classes[called[name]])}: the "
                "orders differ; begin each line with its class and a tab"
            )
    return names


def prompts_from(
    file: str | Path, names: Sequence[str], title: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The prompts of each class, by a file, and the templates that they are made of.

    Parameters
    ----------
    file : path
        A template a line, a JSON list, or JSON by the names of sets, with `{c}` or `{}` for the name; or a JSON object
        of classes and their lists of whole prompts (CuPL), which has no templates.
    names : sequence of str
        Of the classes.
    title : str
        As of `class_names_from`.

    Raises
    ------
    InputError
        If a template has no place for the name or both kinds, or a class has no prompt.
    """
    path, wanted = _set_in(file)
    found: Any = _json(path) if path.suffix.lower() == ".json" else list(captions_by_line(read_text(path)))
    if isinstance(found, dict) and not _of_classes(found):
        found = _of_set(found, wanted, path, title)
    if isinstance(found, dict):
        return _by_class(found, names, path, title), ()
    templates = _texts(found, path, "the templates")
    for place, template in enumerate(templates):
        _check_template(template, f"{path}: template {place + 1}")
    return tuple(tuple(filled(template, name) for template in templates) for name in names), templates


def filled(template: str, name: str) -> str:
    """A template with the name of a class.

    Examples
    --------
    >>> filled("a photo of a {c}.", "cat"), filled("a photo of a {}.", "cat")
    ('a photo of a cat.', 'a photo of a cat.')
    """
    return template.replace("{c}", name) if "{c}" in template else template.replace("{}", name)


def _check_template(template: str, where: str) -> None:
    having = [each for each in PLACEHOLDERS if each in template]
    if len(having) != 1:
        why = "has both {c} and {}: write one of them" if having else "has no {c} or {} for the name of the class"
        raise InputError(f"{where}, {quoted(template)}, {why}")


def _by_class(content: Mapping[str, Any], names: Sequence[str], path: Path, title: str) -> tuple[tuple[str, ...], ...]:
    by_word = {_plain(key): key for key in content}
    missing = [name for name in names if _plain(name) not in by_word]
    if missing:
        others = [key for key in content if _plain(key) not in set(map(_plain, names))]
        beside = f", but for {_some(others, 'others')}" if others else ""
        raise InputError(f"{path} has no prompts for {_some(missing, 'classes')} of {title}{beside}")
    return tuple(_texts(content[by_word[_plain(name)]], path, f"the prompts of {quoted(name)}") for name in names)


def _of_classes(content: Mapping[str, Any]) -> bool:
    """Whether an object is of classes and whole prompts, not of sets and templates."""
    texts = [text for each in content.values() if isinstance(each, list) for text in each]
    return (
        all(isinstance(each, list) for each in content.values())
        and bool(texts)
        and not any(isinstance(text, str) and any(mark in text for mark in PLACEHOLDERS) for text in texts)
    )


def _of_set(content: Any, wanted: str, path: Path, title: str) -> Any:
    """Of an object by the names of sets what one of them has; anything else as it is."""
    if not isinstance(content, dict):
        return content
    if wanted:
        if wanted not in content:
            raise InputError(f"{path} has no set {quoted(wanted)}{nearest(wanted, content)}")
        return content[wanted]
    own = _plain(re.sub(r"\.\w+$", "", title.rpartition(":")[2]))
    known = [key for key in content if own in (_plain(key), _plain(key.rpartition("/")[2]))]
    if len(content) == 1:
        known = list(content)
    if len(known) != 1:
        raise InputError(f"{path} is of {_some(list(content), 'sets')}, none called as {title}: name one, {path}:SET")
    return content[known[0]]


def _set_in(file: str | Path) -> tuple[Path, str]:
    """The file, and the set that is named behind a colon."""
    parts = re.fullmatch(r"(.+\.json):([^/\\]+)", str(file), re.IGNORECASE)
    return (expanded(parts[1]), parts[2]) if parts else (expanded(file), "")


def _json(path: Path) -> Any:
    content = parse_json(read_bytes(path, limit="caption-bytes"), name=str(path))
    if not isinstance(content, dict | list) or not content:
        raise InputError(f"{path} should be a list or an object that is not empty, is {quoted(content)}")
    return content


def _texts(found: Any, path: Path, what: str) -> tuple[str, ...]:
    texts = tuple(
        caption(need(text, str, entry=f"{path}: {what}, {place + 1}"))
        for place, text in enumerate(need(found, list, entry=f"{path}: {what}"))
    )
    if not texts or not all(texts):
        raise InputError(
            f"{path}: {what} are empty" if not texts else f"{path}: {what}, {texts.index('') + 1} is empty"
        )
    return texts


def _check_both(keys: Sequence[str], classes: Sequence[str], path: Path, title: str) -> None:
    """InputError unless the keys of a file are the classes: those of one alone are named, of both."""
    without, beyond = ([each for each in one if each not in other] for one, other in ((classes, keys), (keys, classes)))
    if without or beyond:
        raise InputError(
            f"{path} and {title} disagree: {_some(beyond, 'classes')} of the file alone, {_some(without, 'classes')} "
            "of the data alone"
        )


def _some(names: Sequence[str], what: str) -> str:
    """How many there are of a kind, and the first of them."""
    shown = ", ".join([*names[:NAMED], *["..."] * (len(names) > NAMED)])
    one = {"classes": "class"}.get(what, what.removesuffix("s"))
    return f"{len(names)} {one if len(names) == 1 else what}" + (f" ({shown})" if names else "")


def _plain(name: str) -> str:
    """A name without case and signs, by which two spellings are one.

    >>> _plain("Sea_lion ") == _plain("sea lion")
    True
    """
    return re.sub(r"[\W_]+", "", name).casefold()
