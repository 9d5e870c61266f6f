"""What a reader explores: images, texts, their nearest ones in the other modality, and notable pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.panels.details import MatchedPairs
from geomclip.reports.packed import cosines, rows
from geomclip.reports.signs import plain
from geomclip.reports.spaces import Space

GALLERY = 12


@dataclass(frozen=True)
class Card:
    """One picture of a gallery: the image, a text, and a note on both."""

    kind: str  # what a click selects
    row: int
    image: int | None
    caption: str
    note: str


def items(spaces: Sequence[Space], webp: Sequence[bytes]) -> dict[str, Any]:
    """The items for explore.js: spaces are embeddings of the same images and texts."""
    import base64

    first = spaces[0].embeddings
    return {
        "images": [plain(each) for each in first.image_id],
        "texts": [plain(each) for each in captions(spaces[0])],
        "classes": first.class_text is not None,
        "pairs": {name: rows(each) for name, each in zip(("image", "text"), pairs(spaces[0]), strict=True)},
        "thumbnails": [base64.b64encode(each).decode("ascii") for each in webp],
        "spaces": [_space(space) for space in spaces],
    }


def captions(space: Space) -> Sequence[str]:
    """The texts, or the names of the classes; ids where no words are known."""
    embeddings = space.embeddings
    if embeddings.class_text is not None:
        return embeddings.classes or [f"class {i}" for i in range(len(embeddings.class_text))]
    return embeddings.caption or embeddings.caption_id


def pairs(space: Space) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the images and texts that belong together; none in a set of images alone."""
    embeddings = space.embeddings
    if embeddings.image_of_text is not None:
        return embeddings.image_of_text.numpy(), np.arange(len(embeddings.image_of_text))
    if embeddings.labels is not None:
        return np.arange(len(embeddings.labels)), embeddings.labels.numpy()
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def _space(space: Space) -> dict[str, Any]:
    near = {
        kind: {"row": rows(found.row), "cosine": cosines(found.cosine)} for kind, found in space.details.nearest.items()
    }
    ranks = {kind: rows(found) for kind, found in ranks_of(space).items()}
    return {"name": space.name, "nearest": near, "rank": ranks, "cosine": cosines(of_pairs(space))}


def of_pairs(space: Space) -> NDArray[np.float64]:
    """Cosine of each of `pairs`."""
    embeddings = space.embeddings
    texts = embeddings.text if embeddings.text is not None else embeddings.class_text
    if texts is None:
        return np.zeros(0)
    image, text = map(torch.from_numpy, pairs(space))
    return (embeddings.image[image] * texts[text]).sum(dim=1).clamp(-1, 1).double().numpy()


def ranks_of(space: Space) -> dict[str, NDArray[np.int64]]:
    """Rank of the first own partner, by modality, where the panel has it of these very items; 0: there is none."""
    found = {}
    embeddings = space.embeddings
    for kind, known, ids in (("image", "image_id", embeddings.image_id), ("text", "caption_id", embeddings.caption_id)):
        table = space.panel.items.get(kind, {})
        if "rank" in table and len(ids):
            rank_of = dict(zip(table[known], table["rank"], strict=True))
            if len(rank_of) == len(table["rank"]) and all(each in rank_of for each in ids):
                found[kind] = np.array([rank_of[each] for each in ids], dtype=np.int64)
    return found


def galleries(space: Space) -> dict[str, list[Card]]:
    """Best and worst pairs, and the images and texts that are neighbours of most, by heading."""
    details, words = space.details, captions(space)
    shown = {}
    for heading, found in (("Worst pairs", details.worst), ("Best pairs", details.best)):
        if found is not None:
            shown[heading] = list(_pairs(found, words))
    owner = dict(zip(*reversed(pairs(space)), strict=True)) if space.embeddings.class_text is None else {}
    for kind, heading, queries in (("image", "Image hubs", "texts"), ("text", "Text hubs", "images")):
        counts = details.k_occurrence.get(kind)
        if counts is None:
            continue
        shown[heading] = [
            Card(
                kind,
                int(row),
                int(row) if kind == "image" else owner.get(row),
                "" if kind == "image" else plain(words[row]),
                f"among the {details.k} nearest of {counts[row]:.4g} {queries}",
            )
            for row in details.hubs(kind, GALLERY)
        ]
    return shown


def _pairs(found: MatchedPairs, words: Sequence[str]) -> list[Card]:
    columns = zip(found.image, found.text, found.cosine, found.rank, strict=True)
    return [
        Card("text", int(text), int(image), plain(words[text]), f"rank {rank:,}, cosine {cosine:.4f}")
        for image, text, cosine, rank in list(columns)[:GALLERY]
    ]


def moves(before: Space, after: Space) -> dict[str, list[Card]]:
    """Texts whose own image rose or fell most in rank, from one space to the other."""
    ranks = [ranks_of(space).get("text") for space in (before, after)]
    if ranks[0] is None or ranks[1] is None:
        return {}
    # ranks are felt as ratios: from 2 to 1 is as much as from 200 to 100
    change = np.log(ranks[0]) - np.log(ranks[1])
    image = dict(zip(*reversed(pairs(before)), strict=True))
    words, shown = captions(before), {}
    for heading, order in (("Found sooner", -change), ("Found later", change)):
        first = [row for row in np.argsort(order, kind="stable")[:GALLERY] if order[row] < 0]
        shown[heading] = [
            Card("text", int(row), int(image[row]), plain(words[row]), f"rank {ranks[0][row]:,} → {ranks[1][row]:,}")
            for row in first
        ]
    return {heading: cards for heading, cards in shown.items() if cards}
