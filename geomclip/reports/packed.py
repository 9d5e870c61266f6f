"""What a page carries for its scripts: JSON and arrays, compressed; same values, same bytes."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4"}
"""Element types that unpack.js knows, by numpy's name."""


def packed(value: Any) -> str:
    """JSON of the value, compressed (zlib, which holds no date) and in base64: safe inside a script element.

    Examples
    --------
    >>> zlib.decompress(base64.b64decode(packed({"a": "</script>"})))
    b'{"a":"</script>"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def array(values: NDArray[Any]) -> dict[str, Any]:
    """A table of numbers as unpack.js takes it: element type, shape, and the bytes (little-endian) in base64.

    Examples
    --------
    >>> array(np.array([[1, 2]], dtype=np.int16))
    {'dtype': 'i2', 'shape': [1, 2], 'bdata': 'AQACAA=='}
    """
    kind = TYPES[values.dtype.name]
    data = np.ascontiguousarray(values.astype(f"<{kind}"))
    return {"dtype": kind, "shape": list(values.shape), "bdata": base64.b64encode(data.tobytes()).decode("ascii")}


def rows(values: NDArray[Any]) -> dict[str, Any]:
    """Row numbers (−1: none) in as few bytes as they need."""
    return array(values.astype(np.int16 if values.max(initial=0) < 2**15 else np.int32))


def cosines(values: NDArray[Any]) -> dict[str, Any]:
    """Cosines to four decimals, as whole ten-thousandths."""
    return array(np.rint(values * 10_000).astype(np.int16))
