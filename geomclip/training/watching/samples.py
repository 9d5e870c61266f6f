"""Samples: what a watch looks at again and again, from a batch, a list of pairs, or data by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import ImageSource

BATCH = 64
"""Pairs that an encoder sees at once."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images and texts of as many pairs, as the encoder takes them: tensors, lists, or mappings of tensors."""

    images: Any
    texts: Any

    def __post_init__(self) -> None:
        counts = count_of(self.images), count_of(self.texts)
        if counts[0] != counts[1]:
            raise InputError(f"probe: {counts[0]} images and {counts[1]} texts: a text for each image is needed")
        if counts[0] < 2:
            raise InputError(f"probe: {counts[0]} pairs, and looking needs 2: name more, or probe=None for none")

    def __len__(self) -> int:
        return count_of(self.images)

    def batches(self, size: int = BATCH) -> Iterator[tuple[Any, Any]]:
        """As many pairs at a time."""
        for start in range(0, len(self), size):
            yield part(self.images, start, start + size), part(self.texts, start, start + size)

    def sha256(self) -> str:
        """Of all that is looked at: another probe has another."""
        digest = hashlib.sha256()
        for side in (self.images, self.texts):
            _digest(side, digest.update)
        return digest.hexdigest()


def samples(
    probe: Any,
    *,
    preprocess: Callable[[Any], Tensor] | None = None,
    tokenize: Callable[[list[str]], Any] | None = None,
    size: int = 256,
    split: str | None = None,
    data_root: str | Path | None = None,
) -> Samples:
    """What a probe stands for.

    Parameters
    ----------
    probe : tuple, list, str or Pairs
        A batch (images, texts) as the encoder takes it; a list of pairs (image, text), an image being a picture, a
        file or pixels; the name of data; or pairs already read.
    preprocess : callable, optional
        From a picture to pixels. Left out: the encoder gets the pictures.
    tokenize : callable, optional
        From a list of texts to what the encoder takes. Left out: it gets the texts.
    size : int
        Pairs of named data, spread evenly over them, each image with its first text.

    Raises
    ------
    InputError
        If it is none of these, an image cannot be read, or sides differ in number.
    """
    if isinstance(probe, tuple) and len(probe) == 2:
        return Samples(*probe)
    if isinstance(probe, str):
        probe = load_pairs(Source(probe, split, data_root))
    pairs = _of_data(probe, size) if isinstance(probe, Pairs) else _of_list(probe)
    images: Any = [
        image if isinstance(image, Tensor) or preprocess is None else preprocess(image) for image, _ in pairs
    ]
    texts: Any = [text for _, text in pairs]
    if images and all(isinstance(image, Tensor) for image in images):
        try:
            images = torch.stack(images)
        except RuntimeError as problem:
            raise InputError(
                f"probe: images of different sizes, or of one size after preprocess: {one_line(problem)}"
            ) from problem
    if tokenize is not None:
        texts = tokenize(texts)
        texts = texts[0] if isinstance(texts, tuple) else texts
    return Samples(images, texts)


def count_of(side: Any) -> int:
    """How many images or texts one side of a batch has."""
    if isinstance(side, Mapping):
        return next((len(value) for value in side.values() if isinstance(value, Tensor)), 0)
    try:
        return len(side)
    except TypeError:
        raise InputError(
            f"probe: {type(side).__name__} is no batch: give (images, texts) as tensors or lists, a list of pairs, "
            "or the name of data"
        ) from None


def part(side: Any, start: int, stop: int) -> Any:
    """Some images or texts of one side."""
    if isinstance(side, Mapping):
        return {key: value[start:stop] if isinstance(value, Tensor) else value for key, value in side.items()}
    return side[start:stop]


def _picture(source: ImageSource) -> Any:
    from geomclip.pairs.images import decode

    return decode(source.read(), name=source.path)


def _of_data(data: Pairs, size: int) -> list[tuple[Any, str]]:
    if size < 2:
        raise InputError(f"size must be 2 or more, got {size}")
    described = data.described().pairs
    count = min(size, len(described))
    found = []
    for pair in (described[i * len(described) // count] for i in range(count)):
        source = pair.image
        picture = value_or_reason(partial(_picture, source), name=source.path)
        if not isinstance(picture, str):
            found.append((picture, pair.first_text))
    if len(found) < 2:
        raise InputError(f"{data.title}: {len(found)} images can be read and have a text, and a probe needs 2")
    return found


def _of_list(probe: Any) -> list[tuple[Any, str]]:
    from geomclip.pairs.images import decode

    if not isinstance(probe, Sequence) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in probe):
        raise InputError(
            f"probe must be a batch (images, texts), a list of pairs (image, text), or data; got {type(probe).__name__}"
        )
    found = []
    for place, (image, text) in enumerate(probe):
        if not isinstance(text, str):
            raise InputError(f"probe: pair {place} has {type(text).__name__} for a text")
        if isinstance(image, str | Path):
            try:
                image = decode(regular.read(image, "image-bytes"), name=str(image))
            except (OSError, ValueError) as problem:
                no_image = InputError(f"probe: {image} cannot be read ({one_line(problem)})")
                raise unreadable(image, problem, no_image) from problem
        found.append((image, text))
    return found


def _digest(value: Any, update: Callable[[bytes], Any]) -> None:
    """Take in a value that an encoder may get."""
    update(type(value).__name__.encode())
    if isinstance(value, Tensor):
        update(str((value.dtype, tuple(value.shape))).encode())
        update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            update(str(key).encode())
            _digest(value[key], update)
    elif isinstance(value, str):
        update(value.encode())
    elif isinstance(value, Sequence):
        for each in value:
            _digest(each, update)
    elif hasattr(value, "tobytes"):  # pictures and arrays
        update(value.tobytes())
