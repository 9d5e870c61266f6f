"""From emoji, photos with captions, or vectors to a bank; crops are encoded once and kept in the cache."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.store import load
from geomclip.encoders.extraction.calls import embed
from geomclip.encoders.protocol import Encodes
from geomclip.grounding.bench.bank import DRIFTS, KIN, SPLITS, STOPS, Bank, nearest_others
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs import ImageSource, Pair, Pairs, Source, load_pairs
from geomclip.pairs.emoji import EMOJI_LICENCE, EmojiImage, emoji_pairs
from geomclip.pairs.images import decode
from geomclip.pairs.record import Place, place_of
from geomclip.training.seeds import generator

SIDE = 64
"""Pixels of a crop of an emoji."""
ENLARGED = 224
"""Pixels of the shorter side of a crop of a photo, at most."""
VARIANTS = 2
"""Pictures of a concept in train, at most."""
VECTORS = "vectors"
"""The source that has no pictures."""
NOISE = 0.5
"""Length of what drift adds to a unit row of the vectors: a cosine of about 0.89 with it."""
TRAIN_SHARE = 0.65
"""Of the pictures of a set of vectors."""
CUT = {"train": 0.6, "val": 0.1, "test": 0.3}
"""Shares of a set without the three splits, by the hash of each picture's id."""


@dataclass(frozen=True)
class Sizes:
    """Concepts of each split, at most."""

    train: int = 480
    val: int = 97
    test: int = 366

    def of(self, split: str) -> int:
        """By its name."""
        return int(getattr(self, split))


# centre and side as shares of the picture, at each stop: a pan from left to right, and a zoom onto the middle
PATHS = (((0.42, 0.5, 0.84), (0.5, 0.5, 0.84), (0.58, 0.5, 0.84)), ((0.5, 0.5, 1.0), (0.5, 0.5, 0.85), (0.5, 0.5, 0.7)))
assert len(PATHS) == DRIFTS
assert all(len(path) == STOPS for path in PATHS)


@dataclass(frozen=True)
class Crop:
    """A square of a picture: the middle and the side of it as shares of the shorter side."""

    image: ImageSource
    x: float
    y: float
    side: float

    @property
    def path(self) -> str:
        """The picture's, with the square."""
        return f"{self.image.path}@{self.x:g},{self.y:g},{self.side:g}"

    @property
    def place(self) -> Place | None:
        """The picture's, with the square and how far it is enlarged."""
        place = place_of(self.image)
        square = f"{self.x!r},{self.y!r},{self.side!r},{ENLARGED}"
        return None if place is None else Place(place.file, f"{place.within}@{square}")

    def read(self) -> bytes:
        """The square as PNG."""
        picture = decode(self.image.read(), name=self.image.path)
        short = min(picture.size)
        # the square lies in the largest one in the middle of the picture
        left = (picture.width - short) / 2 + short * (self.x - self.side / 2)
        top = (picture.height - short) / 2 + short * (self.y - self.side / 2)
        box = (left, top, left + short * self.side, top + short * self.side)
        size = min(ENLARGED, round(short * self.side))
        buffer = io.BytesIO()
        picture.resize((size, size), box=box, resample=3).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def identity(self) -> str:
        """That of the picture."""
        return self.image.identity()


def emoji(
    model: str | Encodes = "demo", *, sizes: Sizes | None = None, progress: Progress = SILENT, **how: Any
) -> Bank:
    """OpenMoji pictures with their names; concepts of test are in no other split.

    Train has the concepts with several pictures first, two of each, and then others; which is decided by hashes.
    """
    sizes = sizes or Sizes()
    chosen = {split: _concepts(emoji_pairs(split).pairs, sizes.of(split)) for split in SPLITS}
    # a crop of the smallest side that is drawn shall have the pixels that the demo model takes
    large = round(SIDE / min(side for path in PATHS for _, _, side in path))
    drawn = {
        split: [replace(pair, image=EmojiImage(pair.image_id, large)) for pair in own] for split, own in chosen.items()
    }
    name = "emoji"
    return _of_pictures(name, drawn, model, EMOJI_LICENCE, progress=progress, **how)


def photos(
    data: str,
    model: str | Encodes = "demo",
    *,
    data_root: str | Path | None = None,
    sizes: Sizes | None = None,
    progress: Progress = SILENT,
    **how: Any,
) -> Bank:
    """Any data set with captions: a photo is a concept of its own.

    Its splits where it has train, val and test, else parts by the hash of each image's id.
    """
    sizes = sizes or Sizes()
    splits, licence = _splits(data, data_root, how.get("cache_dir"))
    chosen = {split: _by_hash(own)[: sizes.of(split)] for split, own in splits.items()}
    for split, own in chosen.items():
        if len(own) <= KIN + 3:
            raise InputError(f"{data}: {len(own)} images with captions in its part {split} are too few to compose of")
    return _of_pictures(data.partition(":")[0], chosen, model, licence, progress=progress, **how)


def vectors(path: str | Path, *, seed: int = 0) -> Bank:
    """Rows of pictures and their texts, as `geomclip.load` reads them: no picture is seen.

    65 % of the pictures are for train and val, the others for test; intervals resample pictures. A drift is a walk
    about a picture's row within the cone of the pictures: what is added to it has length NOISE and the directions in
    which the pictures differ.
    """
    embeddings = load(path)
    if embeddings.text is None or embeddings.image_of_text is None:
        raise InputError(f"{path} holds no texts of its images")
    rows, texts = embeddings.image.float(), embeddings.text.float()
    count = len(rows)
    draws = generator(seed, "split and drift of vectors")
    described = torch.zeros(count, dtype=torch.bool)
    described[embeddings.image_of_text] = True
    order = torch.randperm(count, generator=draws)
    order = order[described[order]]
    cut = round(TRAIN_SHARE * len(order))
    parts = {"train": order[:cut].sort().values, "test": order[cut:].sort().values}
    for split, own in parts.items():
        if len(own) <= KIN + 3:
            raise InputError(f"{path}: {len(own)} pictures for {split} are too few to compose videos of")
    members = {"train": parts["train"], "val": parts["train"], "test": parts["test"]}
    concept = torch.arange(count)
    kept_texts = described[embeddings.image_of_text]
    assert bool(kept_texts.all())
    return Bank(
        source=VECTORS,
        views=_wandering(rows, draws),
        texts=texts,
        sentences=embeddings.caption or tuple(f"text {place}" for place in range(len(texts))),
        picture_of_text=embeddings.image_of_text,
        concept=concept,
        members=members,
        kin=nearest_others(rows, concept, parts, [""] * count),
        picture_id=embeddings.image_id,
        unit="picture",
        made_from=_made_from(embeddings.made_from) | {"noise": NOISE, "features_sha256": embeddings.features_sha256()},
    )


def _wandering(rows: Tensor, draws: torch.Generator) -> Tensor:
    """Crops of each row: (n, d) to (n, DRIFTS, STOPS, d), NOISE away from it within the cone."""
    spread = rows - rows.mean(0)
    weights = torch.randn(len(rows), DRIFTS, STOPS, len(rows), generator=draws)
    away = torch.nn.functional.normalize(weights @ spread, dim=-1)
    return torch.nn.functional.normalize(rows[:, None, None] + NOISE * away, dim=-1)


def _of_pictures(
    name: str,
    chosen: Mapping[str, Sequence[Pair]],
    model: str | Encodes,
    licence: str,
    *,
    progress: Progress,
    **how: Any,
) -> Bank:
    """The bank of pictures: every crop encoded, the sentences with the first crop of each."""
    pictures = [pair for split in SPLITS for pair in chosen[split]]
    crops = [
        Pair(
            image_id=f"{split}/{pair.image_id}#{drift}{stop}",
            image=Crop(pair.image, *place),
            captions=pair.captions if (drift, stop) == (0, 0) else (),
        )
        for split in SPLITS
        for pair in chosen[split]
        for drift, path in enumerate(PATHS)
        for stop, place in enumerate(path)
    ]
    pairs = Pairs(f"{name} in crops", "bench", tuple(crops), licence=licence, language="en")
    embeddings = embed(model, pairs, progress=progress, **how)
    if len(embeddings.image) != len(crops):
        known = set(embeddings.image_id)
        lost = next(crop for crop in crops if crop.image_id not in known)
        raise InputError(f"{lost.image.path} cannot be read: a benchmark is of all its pictures, or of none")
    assert embeddings.text is not None
    assert embeddings.image_of_text is not None
    labels = [_label(pair, "concept") or pair.image_id for pair in pictures]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    concept = torch.tensor([numbers[label] for label in labels])
    starts, members = 0, {}
    for split in SPLITS:
        members[split] = torch.arange(starts, starts + len(chosen[split]))
        starts += len(chosen[split])
    views = embeddings.image.float().unflatten(0, (len(pictures), DRIFTS, STOPS))
    middle = torch.nn.functional.normalize(views.mean((1, 2)), dim=1)
    return Bank(
        source=name,
        views=views,
        texts=embeddings.text.float(),
        sentences=embeddings.caption or (),
        picture_of_text=embeddings.image_of_text // (DRIFTS * STOPS),
        concept=concept,
        members=members,
        kin=nearest_others(middle, concept, members, [_label(pair, "subgroup") for pair in pictures]),
        picture_id=[pair.image_id for pair in pictures],
        made_from=_made_from(embeddings.made_from) | {"features_sha256": embeddings.features_sha256()},
    )


def _made_from(known: Mapping[str, Any]) -> dict[str, Any]:
    names = ("model", "pretrained", "arch", "weights_sha256", "dataset", "licence", "file")
    return {name: known[name] for name in names if known.get(name)}


def _label(pair: Pair, column: str) -> str:
    return dict(pair.columns).get(column, "")


def _hash(text: str) -> str:
    return hashlib.sha256(f"bench:{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _by_hash(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: _hash(pair.image_id))


def _concepts(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """The pictures of so many concepts, those with several first."""
    of_concept: dict[str, list[Pair]] = {}
    for pair in _by_hash(pairs):
        of_concept.setdefault(_label(pair, "concept"), []).append(pair)
    order = sorted(of_concept, key=lambda concept: (len(of_concept[concept]) < VARIANTS, _hash(concept)))
    return [pair for concept in order[:most] for pair in of_concept[concept][:VARIANTS]]


def _splits(data: str, data_root: str | Path | None, cache_dir: Path | None) -> tuple[dict[str, list[Pair]], str]:
    def described(split: str | None) -> tuple[list[Pair], str]:
        pairs = load_pairs(Source(data, split, data_root), cache_dir=cache_dir)
        if pairs.classes is not None:
            raise InputError(f"{option('data', data)} has classes, no captions")
        return list(pairs.described().pairs), pairs.licence

    try:
        found = {split: described(split) for split in SPLITS}
    except InputError as problem:
        if "split" not in str(problem):
            raise
    else:
        return {split: own for split, (own, _) in found.items()}, found["train"][1]
    every, licence = described(None)
    ordered = _by_hash(every)
    parts: dict[str, list[Pair]] = {}
    start = 0.0
    for split, share in CUT.items():
        parts[split] = ordered[round(start * len(ordered)) : round((start + share) * len(ordered))]
        start += share
    return parts, licence


def bank_of(
    source: str,
    *,
    model: str | Encodes = "demo",
    vectors_file: str | Path | None = None,
    data_root: str | Path | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    **how: Any,
) -> Bank:
    """The bank that a name means: "emoji", "vectors" with a file, or a data set with captions.

    Parameters
    ----------
    source : str
        "emoji", "vectors", or what `--data` takes.
    model : str or encoder
        Of the pictures.
    vectors_file : path, optional
        Of "vectors", and only of it.
    data_root : path, optional
        Where data sets lie.
    seed : int
        Of the parts and the noise of vectors, and of random weights.
    **how
        More of `geomclip.embed`: pretrained, precision, device, cache_dir, batch_size, workers.

    Raises
    ------
    InputError
        If the name means nothing, a picture cannot be read, or there are too few of them.
    """
    if (source == VECTORS) != (vectors_file is not None):
        raise InputError(f"{option('source', VECTORS)} and {option('vectors')} FILE go together")
    if vectors_file is not None:
        return vectors(vectors_file, seed=seed)
    how |= {"seed": seed, "progress": progress}
    return emoji(model, **how) if source == "emoji" else photos(source, model, data_root=data_root, **how)
