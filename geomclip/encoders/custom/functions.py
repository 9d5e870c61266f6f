"""FunctionEncoder: an encoder made of functions that take a list and give rows, each of which is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from geomclip.encoders.custom.failures import failed
from geomclip.encoders.protocol import Kind
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.places import shown_in
from geomclip.machine.words import one_line, option, typed
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import Pair, Pairs

Encode: TypeAlias = Callable[[list[Any]], Any]
"""From a list of pictures or of strings to as many rows."""

PLURALS: Mapping[Kind, str] = {"image": "images", "text": "texts", "query": "queries", "document": "documents"}

UNNAMED = "an encoder of your own without a name: its rows are neither kept in the cache nor gone on with ({})"


class FunctionEncoder:
    """An encoder made of functions: `learn` says what rows they give, `encode` calls them.

    Parameters
    ----------
    functions : mapping of kind to function
        `image` takes a list of RGB pictures (PIL), the others lists of str; where there is none for `query` or
        `document`, `text` is called. Each gives as many rows as it was given inputs: an array or tensor (b, d) of
        floats, on any device.
    model : str
        What results call it.
    name : str, optional
        What the rows are known by in the cache and in a store. Left out: nothing is kept.
    logit_scale, logit_bias : float, optional
        1/temperature as a factor, and what a SigLIP model adds.
    made_from : mapping, optional
        Whatever else results are to say of it.
    """

    def __init__(
        self,
        functions: Mapping[Kind, Encode],
        *,
        model: str,
        name: str | None = None,
        logit_scale: float | None = None,
        logit_bias: float | None = None,
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        if name is not None and not name.strip():
            raise InputError(f"{_name()} is empty: leave it out, or say which version of the encoder this is")
        if logit_scale is not None and not (np.isfinite(logit_scale) and logit_scale > 0):
            raise InputError(f"{option('logit_scale')} must be positive and finite, got {logit_scale}")
        self.functions, self.model, self.name = dict(functions), model, name
        self.logit_scale = None if logit_scale is None else float(logit_scale)
        self.logit_bias = None if logit_bias is None else float(logit_bias)
        self.probes: dict[Kind, Tensor] = {}
        self._dim = 0
        self._made_from = dict(made_from or {})

    @property
    def dim(self) -> int:
        """Dimensions of a row; 0 before `learn`."""
        return self._dim

    @property
    def named(self) -> bool:
        """Whether the rows are known by a name."""
        return self.name is not None

    def learn(self, pairs: Pairs) -> None:
        """Call each function with the first input that it will have, by which the width of its rows is known.

        Raises
        ------
        InputError
            If there is no function for what the pairs hold, or rows are of different widths.
        """
        self._dim, self.probes, widths = 0, {}, {}
        for kind, inputs in _first_inputs(pairs):
            self._function(kind)
            rows = self.encode(kind, [inputs]) if inputs is not None else None
            if rows is not None:
                widths[kind] = rows.shape[1]
                self.probes[kind] = torch.nn.functional.normalize(rows[0].double(), dim=0)
        if len(set(widths.values())) > 1:
            shown = " and ".join(f"{width} of {PLURALS[kind]}" for kind, width in widths.items())
            raise InputError(f"{self.model}: its rows have {shown}: both must have the same number of dimensions")
        if not widths:
            raise InputError(f"{pairs.title}: none of the first images can be read, by which {self.model} is tried")
        self._dim = next(iter(widths.values()))

    def encode(self, kind: Kind, inputs: Sequence[Any]) -> Tensor:
        """Rows (b, d), float32 on the CPU; GeomclipError with file and line if the function fails.

        Raises
        ------
        InputError
            If it gives anything but as many rows of floats, of the width that the others have.
        """
        function = self._function(kind)
        try:
            with torch.no_grad():
                found = function(list(inputs))
        except (GeomclipError, MemoryError):
            raise
        except Exception as error:
            raise failed(error, function, f"{self.model} on {_count(inputs, kind)}") from error
        rows = self._rows(found, kind)
        what = _count(inputs, kind)
        if rows.ndim != 2 or len(rows) != len(inputs) or not rows.shape[1]:
            wanted = f"({len(inputs)}, {self._dim or 'd'})"
            raise InputError(f"{self.model}: of {what} it gave rows of shape {tuple(rows.shape)}, not {wanted}")
        if self._dim and rows.shape[1] != self._dim:
            raise InputError(f"{self.model}: of {what} it gave rows of {rows.shape[1]} dimensions, {self._dim} before")
        return self._narrowed(rows, kind)

    def made_from(self) -> dict[str, Any]:
        """What a manifest says of it: the name that its rows are known by, or that they are not kept."""
        way = typed("--encoder-name NAME", "name='...'")
        known = {"encoder_name": self.name} if self.named else {"notes": [UNNAMED.format(way)]}
        made = {"model": self.model, "pretrained": "", "dim": self.dim, "truncated": "unknown"}
        return dict(shown_in({**made, **self._made_from, **known}))

    def _function(self, kind: Kind) -> Encode:
        function = self.functions.get(kind) or (None if kind == "image" else self.functions.get("text"))
        if function is None:
            has = " and ".join(f"encode_{each}" for each in self.functions) or "no function"
            raise InputError(
                f"{self.model} encodes no {PLURALS[kind]}, which these data have: it has {has}, and no encode_{kind}"
            )
        return function

    def _rows(self, found: Any, kind: Kind) -> Tensor:
        """What a function gave, as a tensor of floats on the CPU."""
        try:
            if isinstance(found, list | tuple) and found and isinstance(found[0], Tensor):
                found = torch.stack([row.detach().cpu() for row in found])
            if not isinstance(found, Tensor):
                array = np.asarray(found)
                if array.dtype.kind != "f":  # bfloat16 of jax is of another kind, and no other number is
                    array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
                if array.dtype.kind != "f":
                    raise TypeError(f"{type(found).__name__} of {array.dtype}")
                narrow = np.float32 if array.dtype.itemsize < 8 else np.float64
                return torch.from_numpy(np.array(array, dtype=narrow))
            if not found.is_floating_point():
                raise TypeError(f"Tensor of {found.dtype}")
            dense = found.detach() if found.layout == torch.strided else found.detach().to_dense()
            return dense.cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.model}: of {PLURALS[kind]} it gave {one_line(error, 120)}, not rows of floats"
            ) from error

    def _narrowed(self, rows: Tensor, kind: Kind) -> Tensor:
        """The rows in float32, where that holds them."""
        found = rows.float()
        if rows.dtype == torch.float64:
            lost = (rows.isfinite() & ~found.isfinite()) | ((rows != 0) & (found == 0) & ~found.any(-1, keepdim=True))
            if lost.any():
                value = float(rows[lost][0])
                raise InputError(
                    f"{self.model}: of {PLURALS[kind]} it gave {value:.3g}, which float32 cannot hold: divide its rows "
                    "by their lengths"
                )
        return found


def _count(inputs: Sequence[Any], kind: Kind) -> str:
    return f"{len(inputs)} {kind if len(inputs) == 1 else PLURALS[kind]}"


def _name() -> str:
    return typed("--encoder-name", "name")


def _first_inputs(pairs: Pairs) -> Iterator[tuple[Kind, Any]]:
    """Of each kind that the pairs hold the first input: of images the first that can be read, None if none can."""
    first, source = next(((pair, read) for pair in pairs.pairs if (read := _picture(pair)) is not None), (None, None))
    yield ("query" if pairs.of_texts else "image"), source
    if pairs.class_prompts:
        yield "text", pairs.class_prompts[0][0]
        return
    texts = (pair.first_text for pair in (*((first,) if first else ()), *pairs.pairs) if pair.captions)
    if (text := next(texts, None)) is not None:
        yield ("document" if pairs.of_texts else "text"), text


def _picture(pair: Pair) -> Any:
    """The picture of a pair, or the text that stands in its place; None if it cannot be read."""
    from geomclip.pairs.images import decode
    from geomclip.pairs.record import TextQuery

    if isinstance(pair.image, TextQuery):
        return pair.image.text
    read = value_or_reason(lambda: decode(pair.image.read(), name=pair.image.path), name=pair.image.path)
    return None if isinstance(read, str) else read
