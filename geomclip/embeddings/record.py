"""EmbeddingSet: the one frozen record that stages pass on; long, since each of its fields is checked here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings import content, exact
from geomclip.embeddings.unit_rows import UnitRows
from geomclip.machine import scratch

Array = Tensor | NDArray[Any]
"""What public functions take: torch or numpy."""

ASSUMED_LOGIT_SCALE = 100.0
"""1/0.01, where OpenAI's CLIP clamps its learned scale; used, and recorded so, where a file names none."""

ROWS = ("image", "text", "class_text")
"""The fields of an `EmbeddingSet` that are unit rows; the lengths they came with are in `image_norms` and so on."""


STRINGS = ("image_id", "image_path", "caption_id", "caption", "classes")
"""The fields that are sequences of str."""


@dataclass(frozen=True, eq=False)
class EmbeddingSet:
    """Unit image rows and unit text rows, which text describes which image, and what they were made from.

    Several texts an image are normal. Rows are normalised on the way in, once (the lengths found are kept in
    `image_norms`, `text_norms` and `class_text_norms`); half types become float32, float64 stays float64, and from
    float32 `in_precision` leads back to the rows as they were given. Class data have `labels` and `class_text` in
    place of `text`.

    Parameters
    ----------
    image : array of shape (n, d)
        One row an image, n at least 2; no row zero or with NaN.
    text : array of shape (m, d), optional
        One row a text.
    image_of_text : integer array of shape (m,), optional
        Row of the image that each text describes. Left out: text i describes image i, and m must be n.
    logit_scale : float, optional
        1/temperature of the model, as a factor (not a logarithm). Left out: 100 is assumed and recorded so.
    logit_bias : float, optional
        What a SigLIP model adds to its logits.
    labels : integer array of shape (n,), optional
        Class of each image; goes with `class_text`.
    class_text : array of shape (c, d), optional
        One row a class.
    classes : sequence of c str, optional
        Names of the classes.
    image_id, image_path : sequences of n str, optional
        `image_id` defaults to the row numbers.
    caption_id, caption : sequences of m str, optional
        `caption_id` defaults to the row numbers.
    truncated : bool array of shape (m,), optional
        Which texts were cut at the model's context length, where that is known.
    columns : mapping of name to n str, optional
        Anything else known of each image (label, source), for panels by group.
    made_from : mapping, optional
        Model, data, precision: whatever is to be carried into results.

    Raises
    ------
    ValueError
        If shapes, index ranges or lengths do not agree, or a row has no direction; the message names the row.

    Examples
    --------
    >>> pairs = EmbeddingSet(np.eye(3), np.eye(3)[[0, 0, 1, 2]], image_of_text=[0, 0, 1, 2])
    >>> pairs
    EmbeddingSet(3 images, 4 texts, 3 dimensions, logit scale 100 (assumed))
    """

    image: Tensor
    text: Tensor | None = None
    image_of_text: Tensor | None = None
    _: KW_ONLY
    logit_scale: float = None  # type: ignore[assignment]  # always a float after __post_init__
    logit_bias: float | None = None
    labels: Tensor | None = None
    class_text: Tensor | None = None
    classes: tuple[str, ...] | None = None
    image_id: tuple[str, ...] = ()
    image_path: tuple[str, ...] | None = None
    caption_id: tuple[str, ...] = ()
    caption: tuple[str, ...] | None = None
    truncated: Tensor | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)
    logit_scale_source: str = ""
    image_norms: Tensor = field(init=False)
    text_norms: Tensor | None = field(init=False)
    class_text_norms: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        self._put_images()
        self._put_texts()
        self._put_classes()
        self._put_logit_scale()
        self._put_names()
        self._put("made_from", dict(self.made_from))

    def _put(self, name: str, value: object) -> None:
        """A checked value in its field: only while the set is being made."""
        object.__setattr__(self, name, value)

    @property
    def _unit_rows(self) -> dict[str, UnitRows]:
        """The rows of each field with what leads back to those given: no field, since the fields say all else."""
        return vars(self).setdefault("_unit_rows_of", {})

    def _put_rows(self, name: str, value: Array | UnitRows) -> Tensor:
        unit = _unit_rows(value, name, None if name == "image" else self.image.dtype)
        if name != "image":
            width = self.image.shape[1]
            if unit.rows.shape[1] != width:
                raise ValueError(f"image rows have {width} dimensions, {name} rows {unit.rows.shape[1]}")
        self._unit_rows[name] = unit
        self._put(name, unit.rows)
        self._put(f"{name}_norms", unit.norms)
        return unit.rows

    def _put_images(self) -> None:
        for name in ("text_norms", "class_text_norms"):
            self._put(name, None)
        image = self._put_rows("image", self.image)
        if len(image) < 2:
            raise ValueError(f"at least 2 images are needed, got {len(image)}")

    def _put_texts(self) -> None:
        if self.text is None:
            if self.image_of_text is not None:
                raise ValueError("image_of_text is given but text is not")
            return
        if self.class_text is not None:
            raise ValueError("give text or class_text, not both")
        text = self._put_rows("text", self.text)
        if len(text) < 2:
            raise ValueError(f"at least 2 texts are needed, got {len(text)}")
        self._put("image_of_text", _owner(self.image_of_text, n=len(self.image), m=len(text)))

    def _put_classes(self) -> None:
        if (self.class_text is None) != (self.labels is None):
            raise ValueError("labels and class_text go together")
        if self.class_text is None or self.labels is None:
            return
        class_text = self._put_rows("class_text", self.class_text)
        labels = _index(self.labels, "labels", below=len(class_text), below_name="class_text rows")
        if len(labels) != len(self.image):
            raise ValueError(f"{len(labels)} labels for {len(self.image)} images")
        self._put("labels", labels)
        if self.classes is not None and len(self.classes) != len(class_text):
            raise ValueError(f"{len(self.classes)} class names for {len(class_text)} class_text rows")

    def _put_logit_scale(self) -> None:
        if self.logit_scale is None:
            self._put("logit_scale", ASSUMED_LOGIT_SCALE)
            self._put("logit_scale_source", "assumed")
        elif not self.logit_scale_source:
            self._put("logit_scale_source", "given")
        self._put("logit_scale", float(self.logit_scale))
        if not (np.isfinite(self.logit_scale) and self.logit_scale > 0):
            raise ValueError(f"logit_scale must be positive and finite, got {self.logit_scale}")

    def _put_names(self) -> None:
        """What is known of each image and each text, as strings."""
        n, m = len(self.image), 0 if self.text is None else len(self.text)
        counts = ((n, ("image_id", "image_path")), (m, ("caption_id", "caption")), (None, ("classes",)))
        for name, length in ((name, length) for length, names in counts for name in names):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) == 0 and name.endswith("_id"):
                value = tuple(map(str, range(length or 0)))
            if length is not None and len(value) != length:
                raise ValueError(f"{len(value)} entries in {name} for {length} rows")
            self._put(name, tuple(map(str, value)))
        if self.truncated is not None:
            truncated = as_tensor(self.truncated, "truncated").bool()
            if truncated.shape != (m,):
                raise ValueError(f"truncated must be ({m},), got {tuple(truncated.shape)}")
            self._put("truncated", truncated)
        columns = {str(key): tuple(map(str, column)) for key, column in self.columns.items()}
        for key, column in columns.items():
            if len(column) != n:
                raise ValueError(f"{len(column)} entries in column {key!r} for {n} images")
        self._put("columns", columns)

    def __repr__(self) -> str:
        texts = f"{len(self.text)} texts" if self.text is not None else "no texts"
        if self.class_text is not None:
            texts = f"{len(self.class_text)} classes"
        assumed = " (assumed)" if self.logit_scale_source == "assumed" else ""
        return (
            f"EmbeddingSet({len(self.image)} images, {texts}, {self.image.shape[1]} dimensions, "
            f"logit scale {self.logit_scale:g}{assumed})"
        )

    def replace(self, **changes: Any) -> EmbeddingSet:
        """The same set with some fields changed, checked again.

        Rows that are not changed are the same tensors and keep their norms; new ones are made unit, and the norms
        are theirs.
        """
        kept = {name: unit for name in ROWS if (unit := self._own(name)) is not None}
        new = {name: value for name, value in changes.items() if name not in ROWS or value is not getattr(self, name)}
        return replace(self, **kept | new)

    def in_precision(self, dtype: torch.dtype) -> EmbeddingSet:
        """The same set with rows of this type, unit in it; the norms stay those that the rows came with.

        float64 rows are those that were given to the set, normalised in float64, not the float32 rows that it holds.
        """
        if self.image.dtype == dtype:
            return self
        return self.replace(**{name: unit.in_precision(dtype) for name, unit in self._unit_rows.items()})

    def _own(self, name: str, chosen: Tensor | None = None) -> UnitRows | None:
        """Rows of a field, all or the chosen ones, as they are, for a set that is made from this one."""
        unit = self._unit_rows.get(name)
        return unit if chosen is None or unit is None else unit[chosen]

    def first_texts(self) -> EmbeddingSet:
        """The one-caption protocol: each image with the first of its texts; images without text stay."""
        if self.text is None or self.image_of_text is None:
            return self
        # stable sort by image: the first of each run is the image's first text
        order = torch.argsort(self.image_of_text, stable=True)
        own = self.image_of_text[order]
        first = order[torch.cat([own.new_ones(1, dtype=torch.bool), own[1:] != own[:-1]])]
        return self.select_texts(first)

    def select_texts(self, rows: Tensor) -> EmbeddingSet:
        """The same images with only these text rows, in this order."""
        assert self.text is not None
        assert self.image_of_text is not None
        kept = rows.tolist()
        return self.replace(
            text=self._own("text", rows),
            image_of_text=self.image_of_text[rows],
            caption_id=tuple(self.caption_id[j] for j in kept),
            caption=None if self.caption is None else tuple(self.caption[j] for j in kept),
            truncated=None if self.truncated is None else self.truncated[rows],
        )

    def select_images(self, rows: Tensor) -> EmbeddingSet:
        """Only these images, in this order, with the texts that describe them (in their old order)."""
        kept = rows.tolist()
        changes: dict[str, Any] = {
            "image": self._own("image", rows),
            "image_id": tuple(self.image_id[i] for i in kept),
            "image_path": None if self.image_path is None else tuple(self.image_path[i] for i in kept),
            "columns": {key: tuple(column[i] for i in kept) for key, column in self.columns.items()},
        }
        if self.labels is not None:
            changes["labels"] = self.labels[rows]
        if self.text is not None and self.image_of_text is not None:
            place = torch.full((len(self.image),), -1, dtype=torch.int64)
            place[rows] = torch.arange(len(rows))
            texts = (place[self.image_of_text] >= 0).nonzero()[:, 0]
            changes["text"] = self._own("text", texts)
            changes["image_of_text"] = place[self.image_of_text[texts]]
            changes["caption_id"] = tuple(self.caption_id[j] for j in texts.tolist())
            changes["caption"] = None if self.caption is None else tuple(self.caption[j] for j in texts.tolist())
            changes["truncated"] = None if self.truncated is None else self.truncated[texts]
        return self.replace(**changes)

    def attributes(self) -> dict[str, tuple[str, ...]]:
        """What is known of each image, by name: the columns, and of class data the `label`, unless a column is that.

        Examples
        --------
        >>> EmbeddingSet(np.eye(2), labels=[1, 0], class_text=np.eye(2), classes=["cat", "dog"]).attributes()
        {'label': ('dog', 'cat')}
        """
        if self.labels is None:
            return dict(self.columns)
        labels = self.labels.tolist()
        return {"label": tuple(str(i) if self.classes is None else self.classes[i] for i in labels), **self.columns}

    def duplicate_text_share(self) -> float:
        """Share of texts that also occur, to the letter, under another image; by rows where there are no captions."""
        assert self.image_of_text is not None
        assert self.text is not None
        texts = exact.first_equal(self.text) if self.caption is None else content.first_places(self.caption)
        return float(content.shared_share(texts, self.image_of_text, len(self.image)))

    def features_sha256(self) -> str:
        """sha256 over the unit rows in float32, images then texts, and the owners."""
        return content.sha256_of((self.image, self.text, self.class_text), self.image_of_text)


def as_tensor(value: Array, name: str) -> Tensor:
    """A torch view (or copy, where numpy's layout or byte order asks for one) of a numeric array, on the CPU.

    Raises
    ------
    ValueError
        If the value is not numeric (object arrays are refused, never unpickled).
    """
    if isinstance(value, Tensor):
        return value.detach()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numeric, got dtype {array.dtype}")
    if not array.flags.writeable or not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.array(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(array))


def _unit_rows(value: Array | UnitRows, name: str, dtype: torch.dtype | None) -> UnitRows:
    """The rows at length 1, in a type; left out: the one that they came in, half types as float32."""
    if isinstance(value, UnitRows):
        return value if dtype is None else value.beside(dtype)
    rows = as_tensor(value, name)
    if not rows.is_floating_point() or dtype == torch.float64:
        rows = scratch.to(rows, torch.float64)
    return UnitRows.of(rows, name).beside(dtype or torch.promote_types(rows.dtype, torch.float32))


def _index(value: Array, name: str, *, below: int, below_name: str) -> Tensor:
    index = as_tensor(value, name)
    if index.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {tuple(index.shape)}")
    if index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(f"{name} must hold whole numbers, got {index.dtype}")
    index = index.long()
    if len(index) and (index.min() < 0 or index.max() >= below):
        bad = int(((index < 0) | (index >= below)).nonzero()[0])
        raise ValueError(f"{name} entry {bad} is {int(index[bad])}, outside the {below} {below_name}")
    return index


def _owner(image_of_text: Array | Sequence[int] | None, *, n: int, m: int) -> Tensor:
    if image_of_text is None:
        if m != n:
            raise ValueError(f"{m} texts for {n} images: say which image each describes with image_of_text")
        return torch.arange(n)
    own = _index(image_of_text, "image_of_text", below=n, below_name="image rows")  # type: ignore[arg-type]
    if len(own) != m:
        raise ValueError(f"{len(own)} entries in image_of_text for {m} texts")
    return own
