"""CMU-MOSEI's features, as mosei_senti_data*.pkl has them, as the .npz that `evaluate --task missing-modality` reads.

    python analyses/convert_mosei.py mosei_senti_data_noalign.pkl mosei.npz
    geomclip evaluate --task missing-modality --train --views mosei.npz

Each view (text, audio, vision) becomes the mean and the spread of its steps; steps of zeros alone are padding, and
numbers that are not finite (the audio has -inf) count as 0. Parts named valid are left out. The file is a pickle: it is
read by an unpickler that makes numpy arrays and plain containers and refuses everything else.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VIEWS = ("text", "audio", "vision")
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class Arrays(pickle.Unpickler):
    """Makes arrays; of no other class, and calls no other function."""

    def find_class(self, module: str, name: str) -> Any:
        """What the file names, if it is of the few that arrays are made of."""
        if (module, name) not in ALLOWED:
            raise SystemExit(f"the file names {module}.{name}, which is no array: it is not read")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def pooled(steps: NDArray[Any]) -> NDArray[np.float32]:
    """Mean and spread over the steps that are no padding: (n, steps, d) to (n, 2d); zeros where all are."""
    finite = np.where(np.isfinite(steps), steps, 0).astype(np.float64)
    there = finite.any(axis=2)[:, :, None]
    count = np.maximum(there.sum(axis=1), 1)
    mean = finite.sum(axis=1) / count
    spread = np.sqrt((np.where(there, finite - mean[:, None], 0) ** 2).sum(axis=1) / count)
    return np.concatenate([mean, spread], axis=1).astype(np.float32)


def converted(parts: dict[str, dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of the .npz."""
    kept = [name for name in ("train", "test") if name in parts]
    if len(kept) < 2:
        raise SystemExit(f"parts train and test are meant, the file has {', '.join(map(str, parts)) or 'none'}")
    arrays: dict[str, NDArray[Any]] = {}
    for view in VIEWS:
        arrays[view] = np.concatenate([pooled(np.asarray(parts[name][view])) for name in kept])
    arrays["label"] = np.concatenate([np.asarray(parts[name]["labels"]).reshape(-1) for name in kept])
    counts = [np.asarray(parts[name]["labels"]).size for name in kept]
    arrays["split"] = np.repeat(np.array(kept), counts)
    return arrays


def main() -> None:
    """Read a file, write the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    with asked.file.open("rb") as file:
        parts = Arrays(file).load()
    if not isinstance(parts, dict):
        raise SystemExit(f"{asked.file} holds {type(parts).__name__}, a dictionary of parts is meant")
    np.savez(asked.out, **converted(parts))
    print(f"{asked.out}: {len(parts['train']['labels']):,} to learn from, {len(parts['test']['labels']):,} to test on")


if __name__ == "__main__":
    main()
