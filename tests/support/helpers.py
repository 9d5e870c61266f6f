"""Small sets, small pictures, and where the shared real data lie: what three or more test modules use."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.sums import sealed, unsealed
from geomclip.metrics import METRICS
from geomclip.metrics.contributions import FORMULAS, Sums
from geomclip.panels.files import ITEMS_SUM
from geomclip.panels.record import Panel

ROOT = Path(__file__).resolve().parents[2]


def shared(path: str) -> Path:
    """A file or folder of the shared real data; the test is skipped where it is absent."""
    root = Path(os.environ.get("GEOMCLIP_SHARED", ROOT.parent / "shared"))
    found = root / path
    if not found.exists():
        pytest.skip(f"real data {path} not here; GEOMCLIP_SHARED names the folder that holds it")
    return found


def on_circle(*degrees: float) -> Tensor:
    """Unit rows at these angles, float64."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def random_rows(n: int, d: int, *, seed: int) -> Tensor:
    """Signed random unit rows, float64."""
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def assert_same_rows(found: Tensor, expected: Tensor) -> None:
    """Float32 rows by two ways through one tower: equal but for rounding.

    Weights that may learn, as open_clip gives them, and frozen ones, as an `Encoder` has them, are multiplied by
    different kernels even without gradients, and which ones give the same last bits depends on the processor. A few
    layers then differ by some 1e-7 of the largest entry; another activation or pooling by more than 1e-3.
    """
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def small_set(n: int = 12, per_image: int = 3, d: int = 16, *, seed: int = 0, apart: float = 0.5) -> EmbeddingSet:
    """n images with `per_image` texts near each, the two modalities shifted apart along one direction."""
    image = random_rows(n, d, seed=seed)
    own = torch.arange(n).repeat_interleave(per_image)
    text = image[own] + 0.5 * random_rows(len(own), d, seed=seed + 1)
    shift = apart * random_rows(1, d, seed=seed + 2)
    return EmbeddingSet(
        image + shift,
        text - shift,
        own,
        logit_scale=20.0,
        columns={"source": tuple("ab"[i % 2] for i in range(n))},
        made_from={"dataset": "toy", "split": "test", "model": "none", "precision": "fp32"},
    )


def class_set(n: int = 40, classes: int = 4, d: int = 16, *, seed: int = 0) -> EmbeddingSet:
    """n images of a few classes, each near the text of its class."""
    class_text = random_rows(classes, d, seed=seed)
    labels = torch.arange(n) % classes
    image = class_text[labels] + 0.8 * random_rows(n, d, seed=seed + 1)
    names = tuple(f"class {c}" for c in range(classes))
    return EmbeddingSet(image, class_text=class_text, labels=labels, classes=names, logit_scale=10.0)


def picture(seed: int = 0, size: tuple[int, int] = (32, 24), kind: str = "PNG") -> bytes:
    """An encoded image of coloured noise."""
    from PIL import Image

    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def folder_of_pairs(folder: Path, count: int = 6) -> Path:
    """A folder of pictures, each with a text file of its own beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i:03}.png").write_bytes(picture(i))
        (folder / f"{i:03}.txt").write_text(f"noise number {i}", encoding="utf-8")
    return folder


def answer_to_control_c() -> None:
    """For `preexec_fn`: Ctrl-C interrupts the child even where this process was started to ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Done(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> Done:
    """One command in this process."""
    from geomclip.cli.app import main

    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return Done(code, *capsys.readouterr())


def assert_one_line(done: Done, code: int, *said: str) -> None:
    """Refused as every command refuses: exit code, nothing on stdout, one line on stderr that says this."""
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("geomclip: error: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n")
    for words in said:
        assert words in done.err


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until the log tells of this step."""
    end = time.monotonic() + 60
    while not (out / "log.jsonl").is_file() or f'"step": {step},' not in (out / "log.jsonl").read_text():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.002)


class RunsCode:
    """Unpickled, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "run")


def without_sums(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a result as an earlier version, or another tool, would have written it."""
    return {name: value for name, value in unsealed(record).items() if name != ITEMS_SUM}


def resealed(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A JSON file with its object changed, by somebody who makes its sum anew."""
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record)
    file.write_text(json.dumps(sealed(record)), encoding="utf-8")
    return file


def flipped(file: Path, place: int, bit: int = 0) -> Path:
    """The file with one bit changed."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return file


def with_influences(panel: Panel, *, unit: Sequence[int] | None = None, **influences: Tensor) -> Panel:
    """The panel with influences of each image on formulas of sums that have intervals, and on the numbers named here.

    The influence of an image on a formula is its derivative by how often that image counts (the infinitesimal
    jackknife); what images do as candidates is left out.
    """
    image = dict(panel.items["image"])
    columns = {
        name.removeprefix("sum."): torch.tensor(column, dtype=torch.float64)
        for name, column in image.items()
        if name.startswith("sum.")
    }
    totals = {name: column.sum() for name, column in columns.items()}
    found = dict(influences)
    for key, formula in FORMULAS.items():
        if panel.values.get(key) is None or key in found or not METRICS[key].interval:
            continue
        counts = torch.ones(panel.n_images, dtype=torch.float64, requires_grad=True)
        weighted = {name: (counts @ column)[None] for name, column in columns.items()}
        with suppress(KeyError):  # a column that this set does not have
            found[key] = torch.autograd.grad(formula(Sums(totals, weighted)).sum(), counts)[0]
    image = {name: column for name, column in image.items() if not name.startswith("influence.") and name != "unit"}
    image |= {f"influence.{key}": column.tolist() for key, column in found.items()}
    image["unit"] = list(range(panel.n_images) if unit is None else unit)
    return panel.replace(items={**panel.items, "image": image})


def script(name: str, path: str) -> ModuleType:
    """A script of the repository as a module of this name, by which it is known from then on."""
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def files_but_for_time(evaluated: Any, folder: Path) -> dict[str, Any]:
    """What all tasks write: values of JSON by place, without what says when and how long; other files as bytes."""
    left_out = ("seconds", "written", "content_sha256")

    def values(of: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(of, dict | list) and of:
            for key, value in of.items() if isinstance(of, dict) else enumerate(of):
                if key not in left_out:
                    yield from values(value, f"{name}: {key}")
        else:
            yield name, of

    evaluated.save(folder)
    written: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".json":
            written |= values(json.loads(file.read_bytes()), file.name)
        else:
            written[file.name] = file.read_bytes()
    return written
