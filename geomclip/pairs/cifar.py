"""CIFAR-10 and CIFAR-100 in the binary version of their author: label bytes and 3,072 bytes of pixels a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.pairs.classnames import class_prompts, distinct, read_class_names
from geomclip.pairs.parsing import captions_by_line, check_folder, choose_split, read_text
from geomclip.pairs.pixels import check_labels, ppm
from geomclip.pairs.record import Pair, Pairs, Place, stat_if_there
from geomclip.pairs.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULES = (
    "The folder holds data_batch_1.bin to data_batch_5.bin (train) and test_batch.bin (test) of CIFAR-10, or train.bin "
    "and test.bin of CIFAR-100, or a folder cifar-10-batches-bin or cifar-100-binary with them.",
    "A record is the label (of CIFAR-100 the coarse one, which becomes the column `coarse`, then the fine one, the "
    "class) and 1,024 bytes each of red, green and blue, row by row.",
    "Names come from batches.meta.txt or fine_label_names.txt, whose underscores are spaces, else from classnames.txt; "
    "prompts are made as those of folders of classes.",
    "Refused: a file that does not end with a record, a label without a name; the pickles of the other version are "
    "never read.",
)

SIDE = 32
PIXELS = 3 * SIDE * SIDE
"""Bytes of the pixels of a record."""


class Layout(NamedTuple):
    """The files of one of the two sets."""

    folder: str
    files: dict[str, tuple[str, ...]]  # split to files
    names: str
    coarse: str  # names of the byte before the label; "" if there is none


LAYOUTS = (
    Layout(
        "cifar-10-batches-bin",
        {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        "",
    ),
    Layout(
        "cifar-100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt",
        "coarse_label_names.txt",
    ),
)


@dataclass(frozen=True, slots=True)
class BinaryImage:
    """The pixels of one record, read in place."""

    file: Path
    offset: int
    shown: str

    @property
    def path(self) -> str:
        """The name of the file, and the number of the record."""
        return self.shown

    @property
    def place(self) -> Place:
        """The file, and where the pixels begin."""
        return Place(self.file, str(self.offset))

    def read(self) -> bytes:
        """The pixels as a PPM."""
        import numpy as np

        with regular.binary(self.file) as file:
            file.seek(self.offset)
            data = file.read(PIXELS)
        if len(data) < PIXELS:
            raise InputError(f"{self.shown}: {self.file} is shorter than when it was listed")
        planes = np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE)
        return ppm(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    def identity(self) -> str:
        """Size and modification time of the file, and the place within; 'absent' for a file that is gone."""
        stat = stat_if_there(self.file)
        return f"{stat.st_size}:{stat.st_mtime_ns}:{self.offset}" if stat else "absent"


def read(source: Source, root: Path) -> Pairs:
    """The records of a split, file after file."""
    check_folder(source, root)
    name = f"cifar-bin:{root}"
    folder, layout = _found(root, name)
    there = tuple(split for split, files in layout.files.items() if any((folder / file).is_file() for file in files))
    split = choose_split(source.split, there, name=name)
    tally = Tally()
    classes, prompts = _classes(folder, layout, source, tally)
    coarse = _names(folder / layout.coarse) if layout.coarse else ()
    pairs: list[Pair] = []
    for file in layout.files[split]:
        if not (folder / file).is_file():
            raise InputError(f"{name}: {file} is not in {folder}: the split {split} needs {len(layout.files[split])}")
        labels = _labels(folder / file, 2 if layout.coarse else 1)
        check_labels(labels[:, -1], len(classes), where=f"{folder / file}")
        size = labels.shape[1] + PIXELS
        for number, own in enumerate(labels.tolist()):
            shown = f"{file}/{number}"
            columns = (("coarse", coarse[own[0]] if own[0] < len(coarse) else str(own[0])),) if layout.coarse else ()
            image = BinaryImage(folder / file, number * size + labels.shape[1], shown)
            pairs.append(Pair(shown, image, label=classes[own[-1]], columns=columns))
    tally.use("images", len(pairs))
    tally.understood(f"prompts such as {prompts[0][0]!r}")
    return Pairs(source.title, split, pairs, classes=classes, class_prompts=prompts, read=tally.read())


def _found(root: Path, name: str) -> tuple[Path, Layout]:
    """The folder with the files, and whose they are."""
    for layout in LAYOUTS:
        for folder in (root, root / layout.folder):
            if any((folder / file).is_file() for files in layout.files.values() for file in files):
                return folder, layout
    hint = ""
    if any((folder / "test_batch").is_file() or (folder / "meta").is_file() for folder in (root, *root.glob("cifar*"))):
        hint = "; it holds the pickles of the python version, which are never read: fetch the binary version"
    raise InputError(f"{name} holds neither {LAYOUTS[0].files['test'][0]} nor {LAYOUTS[1].files['test'][0]}{hint}")


def _classes(
    folder: Path, layout: Layout, source: Source, tally: Tally
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    places = (folder, folder.parent)
    names = _names(folder / layout.names) or read_class_names(places, tally)
    if not names and not source.named:
        names = tuple(map(str, range(100 if layout.coarse else 10)))
    if not names:
        raise InputError(
            f"cifar-bin:{folder}: {layout.names} is not there, so the classes have no names: put it back, or write "
            "the names into classnames.txt, one a line in the order of the labels"
        )
    return distinct(names, tuple(map(str, range(len(names))))), class_prompts(names, places)


def _names(file: Path) -> tuple[str, ...]:
    """A name a line; () where there is no such file."""
    if not file.is_file():
        return ()
    return tuple(line.replace("_", " ") for line in captions_by_line(read_text(file)))


def _labels(file: Path, count: int) -> NDArray[np.uint8]:
    """The label bytes of all records (n, count); the pixels are not kept."""
    import numpy as np

    size = count + PIXELS
    try:
        length = regular.check(file)
        if length == 0 or length % size:
            raise InputError(f"{file} has {length} bytes, not records of {size}: it was cut short or is another file")
        table = np.memmap(file, np.uint8, "r", shape=(length // size, size))
        return np.array(table[:, :count])
    except OSError as problem:
        raise unreadable(file, problem) from problem
