"""SIMAT's files: its queries as one table, and what is beside them of vectors, captions and OSCAR's judgements."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geomclip.encoders.weights import pickles
from geomclip.machine import json_files, limits, regular
from geomclip.machine.array_files import read_npy, read_npz
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line, option
from geomclip.panels.lines import some

FOLDERS = ("", "simat_db", "data")
"""Where below the folder a file may lie, as the repository of SIMAT has them."""
QUERIES, TRIPLETS, CAPTIONS = "transfos.csv", "triplets.csv", "captions.txt"
OSCAR = ("oscar_similarity_matrix.pt", "oscar_similarity_matrix.npy")
IMAGES = ("simat_img_clip.npz", "simat_img_clip.pt")
WORDS = ("words_clip_fp32.npy", "simat_words_clip.pt", "simat_words_clip.ptd")
COLUMNS = ("region_id", "field", "value", "target", "norm2", "is_test", "query_ids", "target_ids")
FIELDS = ("subj", "rel", "obj")


@dataclass(frozen=True, eq=False)
class Queries:
    """The queries of a domain, one an entry: which image, which word for which, and which caption is then right.

    `weight` is norm2^-1/2, as SIMAT weighs them; `source` and `wanted` are lines of captions.txt, from 0.
    """

    region: tuple[str, ...]
    field: tuple[str, ...]
    value: tuple[str, ...]
    target: tuple[str, ...]
    source: Tensor  # (q,)
    wanted: Tensor  # (q,)
    weight: Tensor  # (q,) float64

    def __len__(self) -> int:
        return len(self.region)

    def words(self) -> list[str]:
        """Every word that is taken away or put in, sorted."""
        return sorted({*self.value, *self.target})

    def target_words(self) -> list[tuple[str, str]]:
        """Field and word of every target, sorted."""
        return sorted(set(zip(self.field, self.target, strict=True)))


def find(folder: Path, names: Iterable[str]) -> Path | None:
    """The first file of these names, in the folder or where the repository has it."""
    return next((path for name in names for below in FOLDERS if (path := folder / below / name).is_file()), None)


def read_queries(folder: Path, domain: str) -> Queries:
    """The queries of transfos.csv that are of a domain.

    Raises
    ------
    InputError
        If the file is absent or has not its columns, or a row cannot be read (its line is named).
    """
    path = find(folder, [QUERIES])
    if path is None:
        what = "no such folder" if not folder.is_dir() else f"{QUERIES} is missing, there and in simat_db"
        raise InputError(f"{option('simat')} {folder}: {what}")
    rows = []
    for line, row in _table(path, COLUMNS):
        try:
            weight = int(row["norm2"]) ** -0.5
            if row["field"] not in FIELDS or row["is_test"] not in ("True", "False"):
                raise ValueError
            at = int(row["query_ids"]), int(row["target_ids"])
            if min(at) < 0:
                raise ValueError
        except (ValueError, ZeroDivisionError, TypeError):
            raise InputError(f"{path}, line {line}: no row of SIMAT") from None
        if row["is_test"] == str(domain == "test"):
            rows.append((row["region_id"], row["field"], row["value"], row["target"], *at, weight))
    if not rows:
        raise InputError(f"{path} has no query of domain {domain}")
    region, field, value, target, source, wanted, weights = zip(*rows, strict=True)
    own, right = torch.tensor(source), torch.tensor(wanted)
    return Queries(region, field, value, target, own, right, torch.tensor(weights, dtype=torch.float64))


def read_regions(folder: Path) -> list[str]:
    """The images (region ids) in the order of the rows of OSCAR's matrix, which triplets.csv numbers.

    Raises
    ------
    InputError
        If the numbers are not 0, 1, 2, ... each once.
    """
    path = find(folder, [TRIPLETS])
    assert path is not None
    place = {row["dataset_id"]: row["region_id"] for _, row in _table(path, ("region_id", "dataset_id"))}
    try:
        return [place[str(number)] for number in range(len(place))]
    except KeyError as absent:
        raise InputError(f"{path}: no row has dataset_id {absent.args[0]}") from None


def read_captions(folder: Path) -> list[str] | None:
    """The lines of captions.txt; None without it."""
    path = find(folder, [CAPTIONS])
    return None if path is None else regular.read(path, "caption-bytes").decode("utf-8", "replace").splitlines()


def read_oscar(path: Path, images: int, captions: int) -> Tensor:
    """How well OSCAR thinks each caption fits each image (images, captions).

    Raises
    ------
    InputError
        If the file holds no such matrix of finite numbers.
    """
    matrix = torch.from_numpy(np.array(read_npy(path))) if path.suffix == ".npy" else _torch(path)
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or len(matrix) != images or matrix.shape[1] < captions:
        shape = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise InputError(f"{path}: {images} images by at least {captions} captions are meant, it has {shape}")
    if not bool(matrix.isfinite().all()):
        raise InputError(f"{path} holds numbers that are not finite")
    return matrix


def read_images(path: Path, regions: Sequence[str]) -> Tensor:
    """The vectors of the images, in this order: of a .pt a dictionary of region id to vector, of a .npz two arrays.

    Raises
    ------
    InputError
        If an image has none (the first are named), or they are of several widths.
    """
    if path.suffix == ".npz":
        arrays = read_npz(path, ("region_id", "image"), needed="region_id and image")
        if len(arrays) < 2 or len(arrays["region_id"]) != len(arrays["image"]):
            raise InputError(f"{path}: region_id and image, as many of one as of the other, are meant")
        rows = dict(zip(map(str, arrays["region_id"]), torch.from_numpy(arrays["image"]), strict=True))
    else:
        rows = _named(path)
    return _stacked(path, rows, regions, "images")


def read_words(folder: Path, words: Sequence[str]) -> Tensor:
    """The released vectors of words, in this order: words.json beside a .npy, or a .pt of word to vector.

    Raises
    ------
    InputError
        If there is no such file, or a word has no vector (the first are named).
    """
    path = find(folder, WORDS)
    if path is None:
        raise InputError(
            f"{folder} holds no vectors of words ({', '.join(WORDS)}): leave out {option('simat_vectors')}"
        )
    if path.suffix == ".npy":
        beside = path.with_name("words.json")
        if not beside.is_file():
            raise InputError(f"{beside} is missing, which names the rows of {path.name}")
        names = json_files.read_json(beside).get("words")
        rows = torch.from_numpy(np.array(read_npy(path)))
        if not isinstance(names, list) or len(names) != len(rows):
            raise InputError(f"{beside} names not as many words as {path.name} has rows ({len(rows)})")
        named = dict(zip(map(str, names), rows, strict=True))
    else:
        named = _named(path)
    return _stacked(path, named, words, "words")


def image_files(folder: Path, regions: Sequence[str]) -> dict[str, Path]:
    """The pictures there are, by region id: ID.png as the script of SIMAT makes them."""
    for below in ("simat_db/images/images", "simat_db/images", "images/images", "images"):
        there = {region: path for region in regions if (path := folder / below / f"{region}.png").is_file()}
        if there:
            return there
    return {}


def _table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows with the numbers of their lines; the first line names the columns."""
    text = regular.read(path, "annotation-bytes").decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text))
    if absent := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise InputError(f"{path} has no column {', '.join(absent)}")
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as problem:
        raise InputError(f"{path}, line {reader.line_num}: {problem}") from problem


def _torch(path: Path) -> object:
    try:
        return pickles.load(path)
    except InputError:
        raise
    except Exception as problem:
        # torch raises whatever the bytes provoke
        damaged = InputError(f"{path} is no readable file of torch ({one_line(problem, 200)})")
        raise unreadable(path, problem, damaged) from problem


def _named(path: Path) -> dict[str, Tensor]:
    found = _torch(path)
    if not isinstance(found, Mapping) or not all(isinstance(row, Tensor) for row in found.values()):
        raise InputError(f"{path} is no dictionary of vectors")
    rows = {str(name): row.flatten() for name, row in found.items()}
    claimed = 4 * sum(math.prod(row.shape) for row in rows.values())
    limits.check_unfolded(path.stat().st_size, claimed, f"{path} claims {claimed} bytes of vectors")
    return rows


def _stacked(path: Path, rows: Mapping[str, Tensor], wanted: Sequence[str], what: str) -> Tensor:
    if absent := [name for name in wanted if name not in rows]:
        raise InputError(f"{path} lacks {len(absent)} of {len(wanted)} {what}: {some(absent)}")
    chosen = [rows[name].double() for name in wanted]
    if len({tuple(row.shape) for row in chosen}) != 1:
        raise InputError(f"{path}: its vectors are of several widths")
    stacked = torch.stack(chosen)
    bad = ~(stacked.isfinite().all(dim=1) & stacked.any(dim=1))
    if bool(bad.any()):
        first = wanted[int(bad.nonzero()[0, 0])]
        raise InputError(f"{path}: the vector of {first} is zero or not finite")
    return stacked
