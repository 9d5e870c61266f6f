"""A watch over any loop: what it logs, when it looks, what it refuses, and that it leaves training as it was."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, random_rows
from PIL import Image
from tiny import TinyEncoder, tiny_pairs
from torch import Tensor, nn
from tower_kinds import inputs, module_of

import geomclip as gc
from geomclip import metrics
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.training.watching.estimates import KEYS, ROWS, estimates, sample
from geomclip.training.watching.lines import read_log
from geomclip.training.watching.looks import PROBED


def rows(n: int = 12, d: int = 8, *, seed: int = 0) -> Tensor:
    return random_rows(n, d, seed=seed).float()


def batches(watched: Any, first: int, last: int, **more: Any) -> None:
    for step in range(first, last + 1):
        watched.step(rows(seed=step), rows(seed=step + 1000), step=step, **more)


def about(log: list[dict[str, Any]]) -> list[tuple[Any, str]]:
    kinds = ("batch", "probe", "warning", "resumed", "watch")
    return [(line.get("step"), next(kind for kind in kinds if kind in line)) for line in log]


def two_rows(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    return images, texts


PROBE = (rows(6, seed=5), rows(6, seed=6))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


# -------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.numeric
@pytest.mark.parametrize("n", [40, 9])
def test_the_numbers_of_a_batch_are_those_of_the_panel(n: int) -> None:
    image, text = rows(n, 16), rows(n, 16, seed=1) + 0.5
    found = estimates(3 * image, text)
    expected = {
        "alignment": metrics.alignment(image, text),
        "uniformity_image": metrics.uniformity(image),
        "uniformity_text": metrics.uniformity(text),
        "modality_gap": metrics.modality_gap(image, text),
        "rankme_image": metrics.rankme(image),
        "rankme_text": metrics.rankme(text),
        "mean_cosine_image": metrics.mean_cosine(image),
        "mean_cosine_text": metrics.mean_cosine(text),
    }
    assert tuple(found) == KEYS
    assert found == pytest.approx({key: float(value) for key, value in expected.items()}, rel=1e-5)
    assert set(KEYS) <= set(metrics.METRICS)
    assert set(PROBED) <= set(metrics.METRICS)


def test_a_large_batch_is_measured_by_rows_spread_over_it() -> None:
    image = rows(1000, 16).requires_grad_()
    part = sample(image)
    assert len(part) == ROWS
    assert not part.requires_grad
    assert torch.equal(part[::64], image[[0, 500]])
    assert sample(image[:ROWS]).shape == (ROWS, 16)


def test_each_step_is_a_line_and_each_hundredth_look_another(log: Path) -> None:
    with gc.watch(PROBE, encode=two_rows, every=3, out=log) as watched:
        batches(watched, 1, 7, logit_scale=20.0)
    found = read_log(log)
    assert about(found) == [
        (None, "watch"),
        (1, "batch"),
        (1, "probe"),
        *[(2, "batch"), (3, "batch"), (3, "probe"), (4, "batch"), (5, "batch"), (6, "batch"), (6, "probe")],
        (7, "batch"),
    ]
    assert found[1]["batch"]["temperature"] == pytest.approx(0.05)
    assert found[1]["batch"]["rows"] == 12
    assert watched.batch == pytest.approx(found[-1]["batch"])
    assert found[2]["probe"]["alignment"] == pytest.approx(float(metrics.alignment(*PROBE)), rel=1e-6)
    assert {key: found[2]["probe"][key] for key in PROBED} == pytest.approx(watched.probe, rel=1e-6)


def test_steps_count_by_themselves_and_may_begin_at_nought(log: Path, tmp_path: Path) -> None:
    with gc.watch(out=log) as watched:
        for _ in range(3):
            watched.step(rows(), rows())
    assert about(read_log(log))[1:] == [(1, "batch"), (2, "batch"), (3, "batch")]
    with gc.watch(out=tmp_path / "b.jsonl") as watched:
        batches(watched, 0, 2)
    assert about(read_log(tmp_path / "b.jsonl"))[1:] == [(0, "batch"), (1, "batch"), (2, "batch")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rows_of_any_precision_and_length_are_taken(log: Path, dtype: torch.dtype) -> None:
    with gc.watch(out=log) as watched:
        watched.step(7 * rows().to(dtype).requires_grad_(), rows(seed=1).to(dtype))
    assert watched.batch["alignment"] == pytest.approx(float(metrics.alignment(rows(), rows(seed=1))), abs=0.02)


# ---------------------------------------------------------------------------------------------- what may be looked at


class Towers(nn.Module):
    """Two towers with dropout, batch statistics and a logit scale."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 8))
        self.text = nn.Linear(8, 8)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(14.3)))

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)


def seeded() -> Callable[[], tuple[float, float, float]]:
    """All generators that a model may draw from, begun anew; a draw of each."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    return lambda: (torch.rand(()).item(), random.random(), np.random.random())  # noqa: NPY002


def test_a_look_leaves_modes_gradients_and_generators_as_they_were(log: Path) -> None:
    model = Towers().train()
    model.text.eval()
    before = {name: part.training for name, part in model.named_modules()}
    statistics = model.visual[0].running_mean.clone()  # type: ignore[union-attr, operator]
    expected = seeded()()

    def disturbing(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        seeded()()
        assert not torch.is_grad_enabled()
        return model.encode_image(images), model.encode_text(texts)

    drawn = seeded()
    with gc.watch(PROBE, encode=disturbing, module=model, out=log) as watched:
        watched.begin()
    assert drawn() == expected
    assert {name: part.training for name, part in model.named_modules()} == before
    assert torch.equal(model.visual[0].running_mean, statistics)  # type: ignore[union-attr, arg-type]
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        image = model.eval().encode_image(PROBE[0])
    assert watched.probe["uniformity_image"] == pytest.approx(float(metrics.uniformity(image)), rel=1e-5)


def test_the_model_of_a_probe_has_the_logit_scale_too(log: Path) -> None:
    with gc.watch(PROBE, encode=Towers(), out=log) as watched:
        watched.step(rows(), rows())
    assert watched.batch["logit_scale"] == pytest.approx(14.3)
    with gc.watch(out=log.with_name("b"), logit_scale=lambda: torch.tensor(50.0)) as watched:
        watched.step(rows(), rows())
    assert watched.batch["temperature"] == pytest.approx(0.02)


@pytest.mark.parametrize("kind", ["openai", "coca", "timm-siglip", "custom-text"])
def test_models_of_open_clip_are_looked_at_as_they_are(log: Path, kind: str) -> None:
    module = module_of(kind)
    pixels, tokens = inputs(module)
    with gc.watch((pixels, tokens), encode=nn.parallel.DataParallel(module.train()), out=log) as watched:
        watched.begin()
    assert module.training
    with torch.no_grad():
        image = module.eval().encode_image(pixels)  # type: ignore[operator]
    image = image[0] if isinstance(image, tuple) else image
    assert watched.probe["mean_cosine_image"] == pytest.approx(float(metrics.mean_cosine(image.float())), abs=1e-5)


def test_pairs_of_files_pictures_and_texts_are_read_once(log: Path, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (6, 6), colour) for colour in ("red", "green", "blue")]
    pictures[0].save(tmp_path / "a.png")
    probe = [(tmp_path / "a.png", "red"), (pictures[1], "green"), (pictures[2], "blue")]
    encoder = TinyEncoder()
    how: dict[str, Any] = {"preprocess": encoder.preprocess(), "tokenize": encoder.tokenize}

    def encode(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        assert images.shape == (3, 3, 6, 6)
        return encoder.encode_image(images), encoder.encode_text(texts)

    with gc.watch(probe, encode=encode, out=log, **how) as watched:
        watched.begin()
    seen: list[Any] = []

    def raw(images: list[Image.Image], texts: list[str]) -> tuple[Tensor, Tensor]:
        seen.extend([images[0].getpixel((0, 0)), texts])
        return rows(3), rows(3)

    with gc.watch(probe, encode=raw, out=tmp_path / "b.jsonl") as watched:
        watched.begin()
    assert seen == [(255, 0, 0), ["red", "green", "blue"]]


def test_data_by_name_and_pairs_are_spread_over_their_images(log: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def encode(images: list[Image.Image], texts: list[str]) -> tuple[Tensor, Tensor]:
        seen.append(texts)
        return rows(len(images)), rows(len(texts))

    pairs = tiny_pairs(tmp_path, 20)
    with gc.watch(pairs, encode=encode, size=5, out=log) as watched:
        watched.begin()
    described = pairs.described().pairs
    assert seen == [[described[i * len(described) // 5].first_text for i in range(5)]]
    with gc.watch("emoji", encode=encode, size=70, split="val", out=tmp_path / "b.jsonl") as watched:
        watched.begin()
    assert [len(texts) for texts in seen[1:]] == [64, 6]


# ----------------------------------------------------------------------------------------------------------- the log


def test_a_run_that_goes_on_has_each_step_once(tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        with gc.watch(PROBE, encode=two_rows, every=2, out=tmp_path / name) as watched:
            batches(watched, 1, 9 if name == "whole" else 6)
    with gc.watch(PROBE, encode=two_rows, every=2, out=tmp_path / "stopped") as watched:
        batches(watched, 5, 9)
    found = read_log(tmp_path / "stopped")
    assert [line for line in found if "resumed" in line] == [{"resumed": 4}]
    assert [line for line in found if "resumed" not in line] == read_log(tmp_path / "whole")


def test_what_was_warned_of_is_not_warned_of_again_by_a_run_that_goes_on(log: Path) -> None:
    with gc.watch(out=log) as watched, pytest.warns(UserWarning, match="step 1: the logit scale is 143"):
        batches(watched, 1, 3, logit_scale=143.0)
    with warnings.catch_warnings(), gc.watch(out=log) as watched:
        warnings.simplefilter("error")
        batches(watched, 4, 6, logit_scale=143.0)
    assert watched.warnings == [line["note"] for line in read_log(log) if "warning" in line]
    assert len(watched.warnings) == 1


def test_nan_is_not_told_again_by_a_run_that_goes_on(log: Path) -> None:
    broken = torch.full((4, 8), math.nan)
    with pytest.warns(UserWarning, match="texts of the batch of step 1"), gc.watch(out=log) as watched:
        watched.step(rows(4), broken)
    with warnings.catch_warnings(), gc.watch(out=log) as watched:
        warnings.simplefilter("error")
        watched.step(rows(4), broken, step=2)


def test_a_rank_is_compared_with_that_of_the_start_by_a_run_that_goes_on(log: Path) -> None:
    half = (PROBE[0][:1].repeat(6, 1) + 0.2 * PROBE[0], PROBE[1])
    shown = [PROBE]
    with gc.watch(PROBE, encode=lambda images, texts: shown[-1], every=2, out=log) as watched:
        batches(watched, 1, 2)
    shown.append(half)
    told = pytest.warns(UserWarning, match=r"step 4: images use .* directions of the probe")
    with told, gc.watch(PROBE, encode=lambda images, texts: shown[-1], every=2, out=log) as watched:
        batches(watched, 3, 4)


def test_a_log_of_another_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with gc.watch(PROBE, encode=two_rows, out=log) as watched:
        batches(watched, 1, 3)
    before = log.read_bytes()
    with pytest.raises(InputError, match=r"log\.jsonl is another run's \(its probe is another\): name another file"):
        gc.watch((PROBE[1], PROBE[0]), encode=two_rows, out=log)
    with pytest.raises(InputError, match=r"another run's \(it has step 1, and this run begins at 1\)"):
        batches(gc.watch(PROBE, encode=two_rows, out=log), 1, 1)
    assert log.read_bytes() == before
    for text in ('{"step": 0, "val": {}}\n', "my notes\n"):
        log.write_text(text)
        with pytest.raises(InputError, match=r"another run's \(it is no log of a watch\).*out="):
            gc.watch(out=log)
        assert log.read_text() == text


def test_what_a_killed_run_left_of_a_line_is_left_out(log: Path) -> None:
    with gc.watch(out=log) as watched:
        batches(watched, 1, 2)
    with log.open("a") as file:
        file.write('{"step": 3, "bat')
    with gc.watch(out=log) as watched:
        batches(watched, 3, 3)
    assert about(read_log(log)) == [(None, "watch"), (1, "batch"), (2, "batch"), (None, "resumed"), (3, "batch")]
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_numbers_that_json_lacks_are_null_with_a_note_and_warned_of(log: Path) -> None:
    image = rows()
    image[3, 0] = math.nan
    with gc.watch(out=log) as watched, pytest.warns(UserWarning, match="images of the batch of step 1 hold NaN"):
        watched.step(image, rows())
    line = read_log(log)[1]
    assert line["batch"]["alignment"] is None
    assert "batch.alignment nan" in line["note"]
    assert [line["warning"] for line in read_log(log) if "warning" in line] == ["nan_images"]


def test_a_collapse_is_warned_of_in_python_in_the_log_and_in_a_list(log: Path) -> None:
    point = torch.ones(6, 8) + 0.01 * PROBE[0]
    shown = [PROBE, (point, PROBE[1])]
    caught = pytest.warns(UserWarning, match="step 2: images are next to one point")
    with caught as found, gc.watch(PROBE, encode=lambda images, texts: shown.pop(0), every=2, out=log) as watched:
        batches(watched, 1, 2)
    told = [line["note"] for line in read_log(log) if "warning" in line]
    assert watched.warnings == told == [str(each.message) for each in found]
    assert [line["warning"] for line in read_log(log) if "warning" in line] == ["collapse_image"]


# -------------------------------------------------------------------------------------- what shows it besides the log


def test_tensorboard_gets_every_number_in_a_folder_or_a_writer_of_the_callers(tmp_path: Path) -> None:
    class OfTheCaller:
        def __init__(self) -> None:
            self.got: list[tuple[str, float, int]] = []
            self.closed = False

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.got.append((name, value, step))

        def flush(self) -> None:
            pass

    writer = OfTheCaller()
    with gc.watch(PROBE, encode=two_rows, out=tmp_path / "log.jsonl", tensorboard=writer) as watched:
        watched.step(rows(), rows(seed=1))
    assert ("geomclip/batch/alignment", pytest.approx(watched.batch["alignment"]), 1) in writer.got
    assert len(writer.got) == len(watched.batch) + len(watched.probe)
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with gc.watch(out=tmp_path / "b.jsonl", tensorboard=tmp_path / "events") as watched:
        batches(watched, 1, 3)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [point.step for point in events.Scalars("batch/alignment")] == [1, 2, 3]


def test_wandb_gets_them_in_a_run_of_the_callers_with_a_step_of_their_own(tmp_path: Path) -> None:
    class Run:
        def __init__(self) -> None:
            self.got: list[dict[str, float]] = []
            self.metrics: list[tuple[str, str]] = []

        def define_metric(self, name: str, *, step_metric: str) -> None:
            self.metrics.append((name, step_metric))

        def log(self, values: dict[str, float]) -> None:
            self.got.append(values)

    run = Run()
    with gc.watch(out=tmp_path / "log.jsonl", wandb=run) as watched:
        batches(watched, 1, 2)
    assert run.metrics == [("geomclip/*", "geomclip/step")]
    assert [values["geomclip/step"] for values in run.got] == [1, 2]
    assert run.got[-1]["geomclip/batch/alignment"] == pytest.approx(watched.batch["alignment"])


def test_wandb_offline_takes_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with gc.watch(out=tmp_path / "log.jsonl", wandb=True) as watched:
        batches(watched, 1, 2)
    assert list((tmp_path / "wandb").glob("offline-run-*"))


# ------------------------------------------------------------------------------------------------------- wrong input

FLAT = (torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"every": 0}, "every must be 1 step or more, got 0"),
        ({"every": 2.5}, r"every must be 1 step or more, got 2\.5"),
        ({"encode": 3}, "encode must be a function of .images, texts., or a model with encode_image"),
        ({"encode": nn.Linear(2, 2)}, "encode must be a function .*got Linear"),
        ({"probe": [("a", "b", "c")]}, "probe must be a batch"),
        ({"probe": 7}, "probe must be a batch .*got int"),
        ({"probe": [(rows(2), 3), (rows(2), 4)]}, "pair 0 has int for a text"),
        ({"probe": [("absent.png", "a"), ("absent.png", "b")]}, "absent.png cannot be read .No such file"),
        ({"probe": (rows(3), rows(4))}, "3 images and 4 texts: a text for each image is needed"),
        ({"probe": (rows(1), rows(1))}, "1 pairs, and looking needs 2"),
        ({"probe": (5, 5)}, "int is no batch: give .images, texts."),
        ({"probe": "emojo"}, "emoji"),
        ({"out": "absent/log.jsonl"}, "does not exist: make it first"),
        ({"out": "."}, "is a folder: name a file in it"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        gc.watch(**how)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda images, texts: (images[:, :4], texts), r"encode gives image rows of shape \(6, 4\) and text rows"),
        (lambda images, texts: (images, texts[:5]), r"\(5, 8\) for 6 pairs: a row a pair is needed on both sides"),
        (lambda images, texts: (images[:5], texts[:5]), "for 6 pairs"),
        (lambda images, texts: (images[:, 0], texts[:, 0]), "encode must give|a row a pair"),
        (lambda images, texts: images, "encode must give .image rows, text rows."),
    ],
)
def test_an_encoder_that_gives_other_rows_for_images_and_texts_is_refused(
    log: Path, encode: Callable[..., Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        gc.watch(PROBE, encode=encode, out=log).begin()


def test_a_step_of_rows_that_are_no_pairs_names_the_step(log: Path) -> None:
    watched = gc.watch(out=log)
    with pytest.raises(InputError, match=r"step 7: image rows of shape \(12, 8\) and text rows of shape \(12, 4\)"):
        watched.step(rows(), rows(d=4), step=7)
    with pytest.raises(InputError, match="a row a pair"):
        watched.step(rows(0), rows(0))
    with pytest.raises(InputError, match=r"step 1: image rows of type list and text rows of type Tensor: two tensors"):
        watched.step([[1.0], [2.0]], rows())  # type: ignore[arg-type]
    assert not log.exists()
    batches(watched, 1, 2)
    with pytest.raises(InputError, match="step 2 comes after step 2: a watch takes each step once"):
        batches(watched, 2, 2)
    watched.close()
    watched.close()


def test_a_probe_without_an_encoder_says_what_is_missing_before_the_log_is_begun(log: Path) -> None:
    with pytest.raises(InputError, match="a probe needs encode="):
        gc.watch(PROBE, out=log).step(rows(), rows())
    assert not log.exists()


def test_pictures_for_towers_need_what_makes_tensors_of_them(log: Path) -> None:
    pictures = [(Image.new("RGB", (4, 4)), "a"), (Image.new("RGB", (4, 4)), "b")]
    with pytest.raises(InputError, match="encode_image takes tensors, and these are list: give preprocess="):
        gc.watch(pictures, encode=Towers(), out=log).begin()


def test_weights_that_are_spread_over_processes_are_refused(log: Path) -> None:
    model = Towers()
    model.text.weight.ds_id = 3  # type: ignore[assignment]  # as ZeRO 3 marks them
    with pytest.raises(InputError, match=r"FSDP, ZeRO 3.*probe=None watches the batches"):
        gc.watch(PROBE, encode=model, out=log)


def test_packages_that_are_not_there_are_named_with_their_extra(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "sentence_transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, package, None)
    watched = gc.watch(out=log)
    with pytest.raises(NotAvailableError, match=r"for_transformers needs transformers: pip install 'geomclip\[hf\]'"):
        watched.for_transformers()
    with pytest.raises(
        NotAvailableError, match=r"for_sentence_transformers needs sentence_transformers: .*geomclip\[st\]"
    ):
        watched.for_sentence_transformers(nn.Linear(2, 2))
    with pytest.raises(NotAvailableError, match=r"for_lightning needs lightning: pip install 'geomclip\[lightning\]'"):
        watched.for_lightning()


# -------------------------------------------------------------------------------------------------------- processes

SEVERAL = """
import sys, torch
import torch.distributed as dist
from torch import nn
import geomclip as gc
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()

class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.BatchNorm1d(8), nn.Linear(8, 8)
    def encode_image(self, x): return self.a(x)
    def encode_text(self, x): return self.b(x)
    def forward(self, x, y): return self.encode_image(x), self.encode_text(y)

torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(Towers())
draw = torch.Generator().manual_seed(rank)
probe = torch.randn(6, 8), torch.randn(6, 8)
with gc.watch(probe, encode=model, every=2, out=sys.argv[1]) as watched:
    for step in range(1, 5):
        image, text = model(torch.randn(4, 8, generator=draw), torch.randn(4, 8, generator=draw))
        (image * text).sum().backward()
        watched.step(image, text, step=step)
dist.barrier()
assert bool(watched.batch) == (rank == 0)
print(f"ended {rank};", flush=True)
dist.destroy_process_group()
"""


def test_of_two_processes_the_first_alone_writes_and_none_waits(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SEVERAL)
    log = tmp_path / "log.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "train.py"), str(log)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(re.findall(r"ended (\d);", done.stdout)) == ["0", "1"]
    steps = [(1, "batch"), (1, "probe"), (2, "batch"), (2, "probe"), (3, "batch"), (4, "batch"), (4, "probe")]
    assert about(read_log(log)) == [(None, "watch"), *steps]
