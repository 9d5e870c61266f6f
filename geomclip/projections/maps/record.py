"""Map: the record that pictures take — where each image and text is drawn, and what the drawing keeps.

All that a map can say of itself is here, so that no other file knows its fields; hence the length.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.wording import worded
from geomclip.machine import notebooks
from geomclip.projections.maps import files

DIMENSIONS = {"plane": 2, "sphere": 3, "space": 3}
"""Coordinates of a drawn point by the kind of map."""

AS_WIDE = 1.05
"""Up to here, and down to its inverse, a drawn cloud is as wide as the true one: what a width shows in two digits."""

MISLEADING = 1.5
"""How many times too wide, narrow, far or near is told apart with bare eyes."""

SAME_GAP = 0.05
"""Gaps that differ by less are the same in a picture."""

LONGEST_LINE = 59
"""Letters of a fact, which the pictures have room for."""

KEEPS = (
    "trustworthiness",
    "continuity",
    "distance_pearson",
    "distance_spearman",
    "mean_cosine_image",
    "mean_cosine_image_drawn",
    "width_image",
    "mean_cosine_text",
    "mean_cosine_text_drawn",
    "width_text",
    "gap",
    "gap_drawn",
    "gap_relative",
    "gap_drawn_relative",
)
"""What `Map.keeps` may have; None or absent where it is not defined for the map."""


class Described(Protocol):
    """What a map notes of the set that it draws."""

    @property
    def text(self) -> object:
        """Rows of texts; None where the texts are classes, or there are none."""

    @property
    def image_of_text(self) -> Any:
        """Row of the image of each text, a tensor."""

    @property
    def image_id(self) -> Sequence[str]:
        """Names of the images."""

    @property
    def caption_id(self) -> Sequence[str]:
        """Names of the texts."""

    @property
    def caption(self) -> Sequence[str] | None:
        """What the texts say."""

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes."""

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Model and data."""

    def attributes(self) -> Mapping[str, Sequence[str]]:
        """What else is known of each image, by name."""


@dataclass(frozen=True, eq=False)
class Map:
    """Where each image and text of a set is drawn, and how far the drawing can be trusted.

    Parameters
    ----------
    image : array of shape (n, k)
        k = 2 for a plane; 3 for a sphere, with rows of length 1, and for a space. Kept as float32.
    text : array of shape (m, k), optional
        Texts, or the names of the classes.
    image_of_text : integer array of shape (m,), optional
        Row of the image that each text describes; None for the names of classes, which describe many.
    kind : str
        "plane", "sphere" or "space".
    method : str
        As in `geomclip.projections.PROJECTIONS`.
    params : mapping
        What the estimator was made with.
    made_from : mapping
        Of the set.
    keeps : mapping of str to float or None
        trustworthiness, continuity (0 to 1, of the `k` nearest), distance_pearson, distance_spearman (of angles
        in full dimension with drawn distances, great circles on a sphere), mean_cosine_image, mean_cosine_text (of
        two of them in full dimension) and the same with _drawn (on a sphere, None on planes), width_image, width_text
        (root mean square distance of two drawn over that of two in full), gap (distance of the mean image from
        the mean text in full dimension, 0 to 2), gap_drawn (the same on the drawn sphere, None on planes), and
        gap_relative, gap_drawn_relative (each divided by the root mean square distance of two points).
    notes : sequence of str
        What else is to be known: samples, options that the size decided.
    k : int
        Neighbours that trustworthiness and continuity look at.
    dim : int
        Dimensions of the set.
    image_id, text_id : sequences of str
        Names of the rows; default the row numbers.
    caption : sequence of m str, optional
        What the texts say.
    attributes : mapping of name to n str, optional
        What else is known of each image, to colour pictures by.

    Raises
    ------
    ValueError
        If shapes, index ranges or lengths do not agree, or a point on a sphere is not at length 1.

    Examples
    --------
    >>> drawn = Map([[0, 0], [2, 0]], [[0, 1], [2, 3]], [0, 1], "plane", "svd", keeps={"trustworthiness": 0.9}, k=1)
    >>> drawn.image_mean.tolist(), drawn.text_mean.tolist()
    ([1.0, 0.0], [1.0, 2.0])
    >>> drawn.facts()
    ['svd of 2 images and 2 texts', 'trustworthiness 0.900 (k = 1)']
    """

    image: NDArray[np.float32]
    text: NDArray[np.float32] | None
    image_of_text: NDArray[np.int64] | None
    kind: str
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)
    keeps: Mapping[str, float | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    _: KW_ONLY
    k: int = 15
    dim: int = 0
    image_id: Sequence[str] = ()
    text_id: Sequence[str] = ()
    caption: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.kind not in DIMENSIONS:
            raise ValueError(f"kind must be one of {', '.join(DIMENSIONS)}, got {self.kind!r}")
        put("image", self._points("image", self.image))
        if self.text is not None:
            put("text", self._points("text", self.text))
        n, m = len(self.image), 0 if self.text is None else len(self.text)
        if self.image_of_text is not None:
            own = np.asarray(self.image_of_text)
            if own.dtype.kind not in "iu" or own.shape != (m,):
                raise ValueError(f"image_of_text must be {m} whole numbers, got {own.dtype} {own.shape}")
            if m and not 0 <= own.min() <= own.max() < n:
                raise ValueError(f"image_of_text holds {own.min()} to {own.max()} for {n} images")
            put("image_of_text", own.astype(np.int64))
        if unknown := set(self.keeps) - set(KEEPS):
            raise ValueError(f"keeps has no {', '.join(sorted(unknown))}; it may have {', '.join(KEEPS)}")
        put("image_id", tuple(map(str, self.image_id or range(n))))
        put("text_id", tuple(map(str, self.text_id or range(m))))
        put("caption", None if self.caption is None else tuple(map(str, self.caption)))
        put("notes", tuple(self.notes))
        for name, length in (("image_id", n), ("text_id", m), ("caption", m)):
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise ValueError(f"{len(value)} entries in {name} for {length} rows")
        put("attributes", {str(name): tuple(map(str, column)) for name, column in self.attributes.items()})
        for name, column in self.attributes.items():
            if len(column) != n:
                raise ValueError(f"{len(column)} entries in attribute {name!r} for {n} images")

    def _points(self, name: str, value: Any) -> NDArray[np.float32]:
        points = np.ascontiguousarray(value, dtype=np.float32)
        if points.ndim != 2 or points.shape[1] != DIMENSIONS[self.kind]:
            raise ValueError(f"{name} of a {self.kind} must be (rows, {DIMENSIONS[self.kind]}), got {points.shape}")
        finite = np.isfinite(points).all(axis=1)
        if not finite.all():
            raise ValueError(f"{name} row {int(np.argmin(finite))} holds NaN or infinity")
        if self.kind == "sphere":
            off = np.abs(np.linalg.norm(points, axis=1) - 1)
            if len(off) and off.max() > 1e-4:
                row = int(off.argmax())
                raise ValueError(f"{name} row {row} is not on the sphere: its length differs from 1 by {off[row]:.2g}")
        return points

    @classmethod
    def of_set(cls, points: NDArray[np.float32], embeddings: Described, **fields: Any) -> Map:
        """Drawn points (n + m, k) of a set, images first, with what the set says of them; other fields as they are."""
        n, of_pairs = len(embeddings.image_id), embeddings.text is not None
        return cls(
            image=points[:n],
            text=points[n:] if len(points) > n else None,
            image_of_text=None if embeddings.image_of_text is None else embeddings.image_of_text.numpy(),
            made_from=embeddings.made_from,
            image_id=embeddings.image_id,
            text_id=embeddings.caption_id if of_pairs else embeddings.classes or (),
            caption=embeddings.caption if of_pairs else embeddings.classes,
            attributes=embeddings.attributes(),
            **fields,
        )

    @property
    def image_mean(self) -> NDArray[np.float32]:
        """Mean of the drawn images (k,); on a sphere its direction, all 0 where it has none."""
        return self._mean(self.image)

    @property
    def text_mean(self) -> NDArray[np.float32] | None:
        """Mean of the drawn texts (k,), as `image_mean`; None without texts."""
        return None if self.text is None else self._mean(self.text)

    def _mean(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        mean = points.mean(axis=0, dtype=np.float64)
        length = np.linalg.norm(mean)
        if self.kind == "sphere" and length > 0:
            mean /= length
        return mean.astype(np.float32)

    def facts(self) -> list[str]:
        """Short lines that every picture prints on itself: the method, and what it keeps and does not."""
        lines = [self._what()]
        near = [
            f"{name} {_number(value)}"
            for name in ("trustworthiness", "continuity")
            if (value := self.keeps.get(name)) is not None
        ]
        if near:
            lines.append(f"{', '.join(near)} (k = {self.k})")
        far = [
            f"{name} {_number(value)}"
            for name in ("Pearson", "Spearman")
            if (value := self.keeps.get(f"distance_{name.lower()}")) is not None
        ]
        if far:
            lines.append(f"correlation of distances: {', '.join(far)}")
        moments = self.moments()
        lines.extend(_at_commas(moments))
        if moments and self.misleads():
            lines.append("warning: more than 1.5 times off; method angles is not")
        return lines

    def moments(self) -> str:
        """In one sentence how wide each cloud and how far apart both are drawn, beside how they are; "" if unknown.

        Examples
        --------
        >>> keeps = {"width_image": 2.3, "width_text": 1.02, "gap": 0.82, "gap_drawn": 0.12}
        >>> drawn = Map([[0, 0, 1], [0, 1, 0]], [[1, 0, 0]], None, "sphere", "dosnes", keeps=keeps, dim=512)
        >>> drawn.moments(), drawn.misleads()
        ('images drawn 2.3 times too wide, classes as wide as they are, gap 0.12 for 0.82 in 512 dimensions', True)
        """
        names = {"image": "images", "text": self._texts()}
        widths = [
            (names[each], _wide(width)) for each in names if (width := self.keeps.get(f"width_{each}")) is not None
        ]
        if len({word for _, word in widths}) == 1:
            widths = [(" and ".join(name for name, _ in widths), widths[0][1])]
        parts = [f"{name} {'' if row else 'drawn '}{word}" for row, (name, word) in enumerate(widths)]
        (true, drawn), what = self._gaps()
        if true is not None and drawn is not None:
            parts.append(f"gap {'' if parts else 'drawn '}{drawn:.2f} for {true:.2f} {what}")
        elif true is not None:
            parts.append(f"gap {true:.2f} {what}")
        return worded(self, ", ".join(parts))

    def misleads(self) -> bool:
        """Whether a cloud is drawn more than 1.5 times as wide or as narrow as it is, or the gap as large or small."""
        widths = [self.keeps.get(f"width_{each}") for each in ("image", "text")]
        (true, drawn), _ = self._gaps()
        ratios = [width for width in widths if width is not None]
        # a gap near 0 is of chance
        if true is not None and drawn is not None and abs(true - drawn) > SAME_GAP:
            ratios.append(drawn / true if true > 0 else float("inf"))
        return any(not 1 / MISLEADING <= ratio <= MISLEADING for ratio in ratios)

    def _gaps(self) -> tuple[tuple[float | None, float | None], str]:
        """The true gap and the drawn one, and in what unit: on planes a typical distance is it."""
        gap, drawn = self.keeps.get("gap"), self.keeps.get("gap_drawn")
        apart, apart_drawn = self.keeps.get("gap_relative"), self.keeps.get("gap_drawn_relative")
        if drawn is None and apart is not None and apart_drawn is not None:
            return (apart, apart_drawn), "of a typical distance"
        return (gap, drawn), f"in {self.dim} dimensions"

    def labels(self, modality: str) -> list[str]:
        """A line a point of "image" or "text": its id and caption; of an image the first of its captions.

        Examples
        --------
        >>> drawn = Map([[0, 0]], [[0, 1]], [0], "plane", "svd", image_id=["a.png"], text_id=["t"], caption=["a dog"])
        >>> drawn.labels("image"), drawn.labels("text")
        (['a.png: a dog'], ['t: a dog'])
        """
        captions = list(self.caption or [])
        if modality == "text":
            texts = [f"{name}: {caption}" for name, caption in zip(self.text_id, captions, strict=False)]
            return texts or list(self.text_id)
        first: dict[int, str] = {}
        own = [] if self.image_of_text is None else self.image_of_text.tolist()
        for image, caption in zip(own, captions, strict=False):
            first.setdefault(image, caption)
        return [f"{name}: {first[row]}" if row in first else name for row, name in enumerate(self.image_id)]

    def _texts(self) -> str:
        return "texts" if self.image_of_text is not None else "classes"

    def _what(self) -> str:
        both = f" and {len(self.text):,} {self._texts()}" if self.text is not None else ""
        return worded(self, f"{self.method} of {len(self.image):,} images{both}")

    def replace(self, **changes: Any) -> Map:
        """The same map with some fields changed, checked again."""
        return replace(self, **changes)

    def save(self, path: str | Path) -> Path:
        """Write the coordinates to PATH, whole or not at all: .csv, .parquet, .npz or .json by its name.

        All have a row a point with its kind, id, image (of texts) and caption; `.json`, `.npz` and the metadata of
        `.parquet` also have what the map keeps and was made from.

        Raises
        ------
        InputError, GeomclipError
            If the name ends in none of them, the place cannot be written to, or the disk is full.
        """
        return files.save(Path(path), self)

    def describe(self) -> dict[str, Any]:
        """All of the map but its points, as JSON has it."""
        return {
            "method": self.method,
            "kind": self.kind,
            "params": dict(self.params),
            "keeps": dict(self.keeps),
            "k": self.k,
            "dim": self.dim,
            "facts": self.facts(),
            "notes": list(self.notes),
            "made_from": dict(self.made_from),
        }

    def columns(self) -> dict[str, list[Any]]:
        """A column a name, images first: kind, id, image (the id of a text's image), caption, x, y and z."""
        n, m = len(self.image), len(self.text_id)
        own = self.image_of_text
        images = [None] * m if own is None else [self.image_id[i] for i in own.tolist()]
        points = self.image if self.text is None else np.concatenate([self.image, self.text])
        captions: list[Any] = [None] * m if self.caption is None else list(self.caption)
        found: dict[str, list[Any]] = {
            "kind": ["image"] * n + ["text"] * m,
            "id": [*self.image_id, *self.text_id],
            "image": [*self.image_id, *images],
            "caption": [None] * n + captions,
        }
        for axis, values in zip(files.AXES, points.T, strict=False):
            # the shortest decimals that give the float32 again, not the digits of its float64
            found[axis] = [float(str(value)) for value in values]
        return found

    def arrays(self) -> dict[str, NDArray[Any] | Sequence[str]]:
        """The fields that have an entry a row, as far as they are there."""
        texts = ("text", "text_id") if self.text is not None else ()
        names = ("image", "image_id", *texts, "image_of_text", "caption")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _repr_png_(self) -> bytes | None:
        return notebooks.png(self)

    def __repr__(self) -> str:
        return f"Map({self._what()}, {self.kind})"


def _at_commas(text: str) -> list[str]:
    """A sentence in lines that end at commas where they can, so that a picture need not break them once more.

    Examples
    --------
    >>> _at_commas("images and texts drawn as wide as they are, gap 0.99 for 0.99 in 128 dimensions")
    ['images and texts drawn as wide as they are,', 'gap 0.99 for 0.99 in 128 dimensions']
    """
    lines: list[str] = []
    for part in text.split(", ") if text else []:
        if lines and len(lines[-1]) + 2 + len(part) <= LONGEST_LINE:
            lines[-1] += f", {part}"
            continue
        if lines:
            lines[-1] += ","
        lines.append(part)
    return [line for each in lines for line in textwrap.wrap(each, LONGEST_LINE)]


def _wide(ratio: float) -> str:
    """How a cloud is drawn that is so many times as wide as it should be."""
    if 1 / AS_WIDE <= ratio <= AS_WIDE:
        return "as wide as they are"
    times = max(ratio, 1 / ratio)
    return f"{f'{times:.1f}' if times < 10 else f'{times:,.0f}'} times too {'wide' if ratio > 1 else 'narrow'}"


def _number(value: float) -> str:
    """Three decimals, and never 1.000 for what is below 1."""
    return f"{min(value, 0.999):.3f}" if value < 1 else f"{value:.3f}"
