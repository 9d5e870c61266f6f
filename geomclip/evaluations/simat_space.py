"""The space that SIMAT is asked of: rows of words, captions and images, of a model or as they were released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.encoders.protocol import AnyEncoder, EncodesInputs
from geomclip.evaluations import simat_files
from geomclip.evaluations.asked import Simat
from geomclip.evaluations.simat_files import Queries
from geomclip.evaluations.simat_heads import Heads, read_heads
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import option
from geomclip.pairs import Pair, Pairs
from geomclip.pairs.record import ImageFile
from geomclip.pairs.source import expanded
from geomclip.panels.lines import some

TEXTS = 256
"""Words or captions that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class Space:
    """Unit rows, float64, of one space: of words, and where they are there of captions and images."""

    words: Tensor  # (words, d) in the order of Queries.words()
    captions: Tensor | None = None
    images: Tensor | None = None  # in the order of regions
    made_from: Mapping[str, Any] = field(default_factory=dict)


def space_of(
    subject: Subject, asked: Simat, folder: Path, queries: Queries, progress: Progress
) -> tuple[Space, list[str], list[str], str]:
    """The vectors, the ids of images in the order of their rows, warnings, and why there are no images, if so."""
    released = asked.simat_vectors == "folder"
    absent = [name for name in (simat_files.TRIPLETS,) if simat_files.find(folder, [name]) is None]
    absent += [simat_files.OSCAR[0]] if simat_files.find(folder, simat_files.OSCAR) is None else []
    regions = [] if absent else simat_files.read_regions(folder)
    if not absent and (unknown := sorted({*queries.region} - {*regions})):
        raise InputError(f"{folder}: {simat_files.TRIPLETS} has no row for {some(unknown)}")
    of_images = simat_files.find(folder, simat_files.IMAGES) if released else None
    files = {} if released else simat_files.image_files(folder, regions or queries.region)
    if not (of_images or files):
        absent.append(simat_files.IMAGES[1] if released else "simat_db/images")
    missing = f"missing in {folder.name or folder}: {', '.join(absent)}" if absent else ""
    warnings = [f"no OSCAR success: {missing}"] if absent else []
    words = queries.words()
    heads = read_heads(expanded(asked.simat_heads)) if asked.simat_heads else None
    if released:
        rows = simat_files.read_words(folder, words)
        images = None if absent or of_images is None else simat_files.read_images(of_images, regions)
        if images is not None and images.shape[1] != rows.shape[1]:
            raise InputError(f"{of_images}: {images.shape[1]} dimensions, those of words have {rows.shape[1]}")
        images = None if images is None else unit(images, heads, "image")
        return Space(unit(rows, heads, "text"), None, images, {"model": folder.name}), regions, warnings, missing
    encoder = subject.encoder()
    lines = simat_files.read_captions(folder)
    if lines is not None and len(lines) <= max(int(queries.wanted.max()), int(queries.source.max())):
        raise InputError(f"{folder}: {simat_files.CAPTIONS} has {len(lines)} lines, {simat_files.QUERIES} names others")
    if heads is not None and heads.has_bias and not absent:
        raise InputError(
            f"{option('simat_heads')}: its img_head has a bias, which is of rows at their own lengths, and a model's "
            f"images are kept at length 1: name {option('simat_vectors', 'folder')}, or heads without a bias"
        )
    encoded = unit(texts(encoder, [*words, *(lines or ())]), heads, "text")
    images = None if absent else unit(_encoded(subject, files, regions, progress), heads, "image")
    captions = None if lines is None else encoded[len(words) :]
    return Space(encoded[: len(words)], captions, images, dict(encoder.made_from())), regions, warnings, missing


def unit(rows: Tensor, heads: Heads | None, of: str) -> Tensor:
    """The rows at length 1, float64, behind the head of "image" or "text" where there are heads."""
    if heads is not None:
        rows = (heads.image if of == "image" else heads.text)(rows.double(), f"rows of {of}s")
    return normalize(rows, name=of)[0]


def texts(encoder: AnyEncoder, lines: Sequence[str]) -> Tensor:
    """Rows (m, d), float64, of texts, at the lengths that the encoder gives them."""
    parts = []
    for start in range(0, len(lines), TEXTS):
        some_lines = list(lines[start : start + TEXTS])
        if isinstance(encoder, EncodesInputs):
            parts.append(encoder.encode("text", some_lines))
        else:
            with torch.no_grad():
                parts.append(encoder.encode_text(encoder.tokenize(some_lines)[0]))
    return torch.cat(parts).double()


def _encoded(subject: Subject, files: Mapping[str, Path], regions: Sequence[str], progress: Progress) -> Tensor:
    """Unit rows of the pictures; InputError if one is missing or cannot be read."""
    pairs = tuple(Pair(name, ImageFile(files[name], f"{name}.png"), ("picture",)) for name in regions if name in files)
    found = subject.embedded(progress, pairs=Pairs("SIMAT", "images", pairs))
    rows = dict(zip(found.image_id, found.image.double(), strict=True))
    if lost := [name for name in regions if name not in rows]:
        raise InputError(f"{len(lost)} of {len(regions)} pictures are missing or cannot be read: {some(lost)}")
    return torch.stack([rows[name] for name in regions])
