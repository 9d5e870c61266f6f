"""Matching: which images and texts two sets have in common, and both cut to them in one order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.words import option


@dataclass(frozen=True)
class Matched:
    """Rows of what two lists share: row `before[i]` of one is row `after[i]` of the other."""

    before: list[int]
    after: list[int]
    aligned: bool  # the lists are one and the same: every row, in order

    def __len__(self) -> int:
        return len(self.before)


def matched(before: Sequence[str], after: Sequence[str], what: str) -> Matched:
    """The rows that two lists of ids share: in their order if the lists are the same, else by id.

    Parameters
    ----------
    before, after : sequences of str
        Ids; they need to be unique only if the lists differ.
    what : str
        What has these ids, in the plural, for the message.

    Raises
    ------
    ValueError
        If the lists differ and an id occurs twice in one: there is no telling which row is meant.

    Examples
    --------
    >>> matched(["a", "b", "c"], ["c", "d", "a"], "images")
    Matched(before=[0, 2], after=[2, 0], aligned=False)
    """
    if list(before) == list(after):
        rows = list(range(len(before)))
        return Matched(rows, rows, aligned=True)
    places = []
    for side, ids in (("before", before), ("after", after)):
        place = {each: row for row, each in enumerate(ids)}
        if len(place) < len(ids):
            twice = next(each for row, each in enumerate(ids) if place[each] != row)
            raise ValueError(f"{side}: two {what} have the id {twice!r}: they cannot be matched")
        places.append(place)
    # by id, not in the order of one side: exchanging the sides changes nothing but the sign
    shared = sorted(places[0].keys() & places[1].keys())
    return Matched([places[0][each] for each in shared], [places[1][each] for each in shared], aligned=False)


def text_ids(caption_ids: Sequence[Sequence[str]], images: Sequence[Sequence[str]]) -> list[list[str]]:
    """Ids of the texts of two sides: their own, or, if both only count rows, image and place among its texts.

    Row numbers are what texts without ids get; they say nothing where the sets differ.

    Examples
    --------
    >>> text_ids([("0", "1", "2"), ("0", "1")], [("a", "a", "b"), ("b", "a")])
    [['a, text 0', 'a, text 1', 'b, text 0'], ['b, text 0', 'a, text 0']]
    >>> text_ids([("x", "y"), ("0", "1")], [("a", "b"), ("a", "b")])
    [['x', 'y'], ['0', '1']]
    """
    if any(list(side) != list(map(str, range(len(side)))) for side in caption_ids):
        return [list(side) for side in caption_ids]
    named = []
    for owners in images:
        seen: dict[str, int] = {}
        names = []
        for image in owners:
            names.append(f"{image}, text {seen.get(image, 0)}")
            seen[image] = seen.get(image, 0) + 1
        named.append(names)
    return named


def differing(
    ids: Sequence[Sequence[str]], shared: int, what: str, changed: int = 0, change: str = "have other texts"
) -> str:
    """One line: how two sets differ, what is shared, and the way out; of the shared ones some may have changed."""
    alone = [set(ids[0]) - set(ids[1]), set(ids[1]) - set(ids[0])]
    differences = [
        f"{len(some)} {what} are only {side} ({example(some)})"
        for side, some in zip(("before", "after"), alone, strict=True)
        if some
    ]
    if changed:
        differences.append(f"{changed} {what} {change}")
    way_out = f"{option('intersect', True)} compares what is shared"
    return f"the two sets differ: {', '.join(differences)}; {shared - changed} are shared: {way_out}"


def example(ids: Iterable[str]) -> str:
    """The first id, shortened, and whether there are more."""
    first, *more = sorted(ids)
    return f"{first[:40]!r}{', ...' if more else ''}"


def cut(before: EmbeddingSet, after: EmbeddingSet, *, intersect: bool) -> tuple[EmbeddingSet, EmbeddingSet, str]:
    """Both sets with the images and texts they share, in one order, and a line on what was cut ('' if nothing).

    Raises
    ------
    ValueError
        If one has texts and the other classes, the classes differ, the images or texts differ and `intersect`
        is not requested, or fewer than two are shared.

    Examples
    --------
    >>> x = torch.eye(3)
    >>> a, b = EmbeddingSet(x, x, image_id=("a", "b", "c")), EmbeddingSet(x, x, image_id=("b", "c", "d"))
    >>> cut(a, b, intersect=True)[2]
    'cut before measuring: 2 images and 2 texts are shared, of 3 and 3 before and of 3 and 3 after'
    """
    if (before.text is None) != (after.text is None):
        raise ValueError("one side has pairs, the other classes in place of texts: they share no numbers")
    if before.classes != after.classes or _count(before.class_text) != _count(after.class_text):
        raise ValueError("the two sides have different classes: their accuracies cannot be compared")
    sides = _with_text_ids(before, after)
    images = matched(before.image_id, after.image_id, "images")
    if not intersect and not len(images) == len(before.image_id) == len(after.image_id):
        raise ValueError(differing([before.image_id, after.image_id], len(images), "images"))
    _enough(len(images), "images")
    if not images.aligned:
        sides = [
            side.select_images(torch.tensor(rows))
            for side, rows in zip(sides, (images.before, images.after), strict=True)
        ]
    if before.text is not None:
        sides = _same_texts(*sides, intersect=intersect)
    counts = [(len(side.image), _count(side.text)) for side in (sides[0], before, after)]
    if counts[0] == counts[1] == counts[2]:
        return sides[0], sides[1], ""
    (n, m), *wholes = counts
    if before.text is None:
        shared, of = f"{n} images", [f"{images}" for images, _ in wholes]
    else:
        shared, of = f"{n} images and {m} texts", [f"{images} and {texts}" for images, texts in wholes]
    return sides[0], sides[1], f"cut before measuring: {shared} are shared, of {of[0]} before and of {of[1]} after"


def _with_text_ids(before: EmbeddingSet, after: EmbeddingSet) -> list[EmbeddingSet]:
    """Both with ids of texts that hold when rows are left out."""
    sides = [before, after]
    ids = text_ids([side.caption_id for side in sides], [_images_of_texts(side) for side in sides])
    same = before.image_id == after.image_id and before.caption_id == after.caption_id
    if before.text is None or same:  # nothing will be left out; or row numbers that are each other's
        return sides
    return [side.replace(caption_id=tuple(names)) for side, names in zip(sides, ids, strict=True)]


def _images_of_texts(side: EmbeddingSet) -> list[str]:
    return [] if side.image_of_text is None else [side.image_id[row] for row in side.image_of_text.tolist()]


def _same_texts(before: EmbeddingSet, after: EmbeddingSet, *, intersect: bool) -> list[EmbeddingSet]:
    """Both with the texts that describe the same image in both, in one order."""
    sides = [before, after]
    owners = [_images_of_texts(side) for side in sides]
    texts = matched(before.caption_id, after.caption_id, "texts")
    kept = [(b, a) for b, a in zip(texts.before, texts.after, strict=True) if owners[0][b] == owners[1][a]]
    if len(kept) < max(len(before.caption_id), len(after.caption_id)):
        if not intersect:
            moved = len(texts) - len(kept)
            ids = [before.caption_id, after.caption_id]
            raise ValueError(differing(ids, len(texts), "texts", moved, "belong to another image"))
    elif texts.aligned:
        return sides
    _enough(len(kept), "texts")
    return [side.select_texts(torch.tensor(rows)) for side, rows in zip(sides, zip(*kept, strict=True), strict=True)]


def _enough(shared: int, what: str) -> None:
    if shared < 2:
        raise ValueError(f"only {shared} {what} are in both: nothing to compare")


def _count(rows: torch.Tensor | None) -> int:
    return 0 if rows is None else len(rows)
