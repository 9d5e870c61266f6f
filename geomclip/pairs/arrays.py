"""A .npz of images and labels: CIFAR subsets, MedMNIST and what numpy writes; nothing is unpickled."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.classnames import class_names, class_prompts, distinct
from geomclip.pairs.parsing import choose_split, clean, shorten
from geomclip.pairs.pixels import check_labels, ppm
from geomclip.pairs.record import Pair, Pairs, Place, stat_if_there
from geomclip.pairs.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULES = (
    "Arrays `images` (n, h, w) or (n, h, w, 3) of 8 bits and `labels` (n,) or (n, 1) of whole numbers; with train_, "
    "val_ or test_ before both names they are splits.",
    "An array `classes` of texts has the names, in the order of the labels; else classnames.txt beside the file. "
    "Prompts are made as those of folders of classes.",
    "Refused: pixels of other types, a label outside the classes, arrays of Python objects.",
)

IMAGES, LABELS, CLASSES = "images", "labels", "classes"
KEPT_BYTES = 1 << 28
"""So much is kept of arrays read before, and the last one however large."""


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """One row of an array of images."""

    file: Path
    array: str
    row: int

    @property
    def path(self) -> str:
        """The name of the array, and the row."""
        return f"{self.array}/{self.row}"

    @property
    def place(self) -> Place:
        """The file, and the row."""
        return Place(self.file, self.path)

    def read(self) -> bytes:
        """The pixels as a PPM or PGM."""
        import numpy as np

        pixels = _ARRAYS.of(self.file, self.array)
        if self.row >= len(pixels):
            raise InputError(f"{self.path}: {self.file} has fewer images than when it was listed")
        return ppm(np.ascontiguousarray(pixels[self.row]))

    def identity(self) -> str:
        """Size and modification time of the file, and the row; 'absent' for a file that is gone."""
        stat = stat_if_there(self.file)
        return f"{stat.st_size}:{stat.st_mtime_ns}:{self.path}" if stat else "absent"


class _Arrays:
    """The arrays of images read last, of all files; one reader at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], NDArray[Any]] = OrderedDict()

    def of(self, file: Path, array: str) -> NDArray[Any]:
        from geomclip.machine.array_files import read_npz

        stat = stat_if_there(file)
        if stat is None:
            raise FileNotFoundError(2, "No such file or directory", str(file))
        key = (str(file), f"{stat.st_size}:{stat.st_mtime_ns}", array)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _checked(read_npz(file, [array], needed=array)[array], f"{file}: {array}")
                while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


_ARRAYS = _Arrays()


def read(source: Source, file: Path) -> Pairs:
    """The images of a split in the order of their rows."""
    from geomclip.machine.array_files import npz_headers, read_npz

    name = f"npz:{file}"
    headers = npz_headers(file)
    splits = tuple(key.removesuffix(f"_{IMAGES}") for key in headers if re.fullmatch(rf"\w+_{IMAGES}", key))
    if not splits and IMAGES not in headers:
        raise InputError(
            f"{name} holds {', '.join(sorted(headers)[:8]) or 'nothing'}; needed: {IMAGES} and {LABELS}, or "
            f"train_{IMAGES}, train_{LABELS}, ... (vectors are read with {option('embeddings')})"
        )
    split = choose_split(source.split, splits, name=name)
    images, labelled = ((f"{split}_{key}" if splits else key) for key in (IMAGES, LABELS))
    if labelled not in headers:
        raise InputError(f"{name} has {images} but no {labelled}")
    found = read_npz(file, [labelled, CLASSES], needed=labelled)
    labels = _whole(found[labelled], f"{file}: {labelled}")
    count = _count(headers[images], f"{file}: {images}")
    if len(labels) != count:
        raise InputError(f"{name}: {len(labels)} {labelled} for {count} {images}")
    tally = Tally()
    names, keys = _names(found.get(CLASSES), labels, source, file, tally)
    check_labels(labels, len(names), where=f"{file}: {labelled}")
    classes = distinct(names, keys)
    prompts = class_prompts(names, (file.parent,))
    pairs = [
        Pair(image.path, image, label=classes[label])
        for row, label in enumerate(labels.tolist())
        for image in [ArrayImage(file, images, row)]
    ]
    tally.use("images", len(pairs))
    tally.understood(f"prompts such as {prompts[0][0]!r}")
    return Pairs(source.title, split, pairs, classes=classes, class_prompts=prompts, read=tally.read())


def _names(
    kept: NDArray[Any] | None, labels: NDArray[Any], source: Source, file: Path, tally: Tally
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the classes are called in prompts, and by their numbers."""
    if kept is not None:
        if kept.dtype.kind != "U" or kept.ndim != 1:
            raise InputError(f"{file}: {CLASSES} should be texts, is {kept.dtype} of shape {kept.shape}")
        names = tuple(clean(str(each)).strip() for each in kept)
        if not all(names):
            raise InputError(f"{file}: {CLASSES} has no name at {names.index('')}")
        return names, tuple(map(str, range(len(names))))
    most = max(int(labels.max()) + 1, 1)
    if most > len(labels):
        raise InputError(f"{file}: labels go to {most - 1} in {len(labels)} images, and there are no {CLASSES}")
    keys = [str(number) for number in range(most)]
    named = class_names(keys, (file.parent,), tally, name=f"npz:{file}", what="labels", required=source.named)
    return named, tuple(keys)


def _whole(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        kind = f"{labels.dtype} of shape {labels.shape}"
        raise InputError(f"{where} should be whole numbers, one an image, is {kind}")
    return labels.astype("int64")


def _count(header: tuple[tuple[int, ...], str], where: str) -> int:
    """How many images an array has, by its header."""
    shape, kind = header
    if kind != "u" or not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise InputError(f"{where} should be uint8 of shape (n, h, w) or (n, h, w, 3), is {shorten(kind)} of {shape}")
    return shape[0]


def _checked(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    if str(pixels.dtype) != "uint8":
        raise InputError(f"{where} is {pixels.dtype}; pixels of 8 bits (uint8) are read")
    return pixels
