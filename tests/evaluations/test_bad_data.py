"""Data that a task cannot be asked of: from the command line each is one line, exit 2, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from colours import COLOURS, write
from helpers import assert_one_line, run_cli

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet

Asked = Callable[..., None]
OF_CLASSES = ["zeroshot", "fewshot", "shift"]


@pytest.fixture
def assert_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.chdir(tmp_path)

    def ask(task: str, *arguments: str, said: str) -> None:
        """The task refuses in a line, and leaves nothing in the folder."""
        more = {"shift": ("--corrupt", "blur"), "fewshot": ("--holdout", "0.5")}
        own = more.get(task, ()) if "--data" in arguments else ()
        before = sorted(tmp_path.rglob("*"))
        done = run_cli(capsys, "evaluate", "--task", task, "--out", "r.json", *arguments, *own)
        assert_one_line(done, 2, said)
        assert sorted(tmp_path.rglob("*")) == before

    return ask


@pytest.mark.parametrize("task", ["zeroshot", "shift"])
@pytest.mark.parametrize(
    ("name", "content", "option", "said"),
    [
        ("n.txt", "a\nb\n", "--classnames", "n.txt has 2 names for 3 classes"),
        ("n.txt", "a\nb\na\n", "--classnames", "'a' is the name of classes 1 and 3"),
        ("n.txt", "green\nblue\nox\n", "--classnames", "name 1 is 'green', class 1 of imagenet-folder:d is 'blue'"),
        (
            "n.json",
            '{"red": "r", "green": "g", "bleu": "b"}',
            "--classnames",
            "1 class (bleu) of the file alone, 1 class (blue) of the data alone",
        ),
        ("t.txt", "a photo\n", "--templates", "template 1, 'a photo', has no {c} or {}"),
    ],
)
def test_names_and_prompts_that_do_not_fit_the_classes(
    assert_refused: Asked, tmp_path: Path, task: str, name: str, content: str, option: str, said: str
) -> None:
    write(tmp_path / "d", count=2)
    (tmp_path / name).write_text(content)
    assert_refused(task, "--data", "imagenet-folder:d", option, name, said=said)


@pytest.mark.parametrize("task", OF_CLASSES)
def test_a_class_list_in_the_folder_that_names_others(assert_refused: Asked, tmp_path: Path, task: str) -> None:
    write(tmp_path / "d", count=2)
    (tmp_path / "d" / "classnames.txt").write_text("a\nb\n")
    assert_refused(task, "--data", "imagenet-folder:d", said="classnames.txt has 2 names for 3 class folders")


@pytest.mark.parametrize("task", OF_CLASSES)
def test_one_class_only(assert_refused: Asked, tmp_path: Path, task: str) -> None:
    write(tmp_path / "d", count=2)
    for name in list(COLOURS)[1:]:
        for path in (tmp_path / "d" / name).iterdir():
            path.unlink()
        os.rmdir(tmp_path / "d" / name)
    assert_refused(task, "--data", "imagenet-folder:d", said="imagenet-folder:d (all) has one class only")
    np.savez(tmp_path / "v.npz", image=np.eye(3), labels=[0, 0, 0], class_text=np.eye(3)[:1])
    family = ("--family", "x=v.npz") if task == "shift" else ()
    assert_refused(task, "--embeddings", "v.npz", *family, said="the vectors have no classes, or one only")


@pytest.mark.parametrize("task", OF_CLASSES)
@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": [0, 2, 1]}, "labels entry 1 is 2, outside the 2 class_text rows"),
        ({"labels": [0, -1, 1]}, "labels entry 1 is -1, outside the 2 class_text rows"),
        ({"image": np.zeros((3, 3))}, "image row 0 is zero"),
        ({"class_text": np.zeros((2, 3))}, "class_text row 0 is zero"),
        ({"image": np.array([1, "a", None], dtype=object)}, "image holds Python objects, which are never unpickled"),
    ],
)
def test_vectors_that_cannot_be_classified(
    assert_refused: Asked, tmp_path: Path, task: str, arrays: dict[str, object], said: str
) -> None:
    whole = {"image": np.eye(3), "labels": [0, 1, 1], "class_text": np.eye(3)[:2]}
    np.savez(tmp_path / "good.npz", **whole)
    np.savez(tmp_path / "v.npz", **(whole | arrays))
    family = ("--family", "x=good.npz") if task == "shift" else ()
    assert_refused(task, "--embeddings", "v.npz", *family, said=f"v.npz: {said}")
    if task == "shift":
        assert_refused(task, "--embeddings", "good.npz", "--family", "x=v.npz", said=f"v.npz: {said}")
    if task == "fewshot":
        assert_refused(task, "--embeddings", "good.npz", "--train-embeddings", "v.npz", said=f"v.npz: {said}")


@pytest.mark.parametrize("task", OF_CLASSES)
def test_cifar_cut_short_and_arrays_that_are_no_pictures(assert_refused: Asked, tmp_path: Path, task: str) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    (folder / "test_batch.bin").write_bytes(bytes(3 * 3073 - 7))
    assert_refused(task, "--data", "cifar-bin:.", said="test_batch.bin has 9212 bytes, not records of 3073")
    (folder / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    assert_refused(task, "--data", "cifar-bin:.", said="the label of image 0 is 10, outside the 10 classes")
    np.savez(tmp_path / "o.npz", images=np.array([1, None], dtype=object), labels=[0, 1])
    assert_refused(task, "--data", "npz:o.npz", said="o.npz: images should be uint8")


@pytest.mark.parametrize("task", OF_CLASSES)
def test_parquet_without_a_column_of_classes(assert_refused: Asked, tmp_path: Path, task: str) -> None:
    pictures = sorted((write(tmp_path / "d", count=2) / "red").iterdir())
    pq.write_table(pa.table({"filepath": list(map(str, pictures)), "title": ["a", "b"]}), tmp_path / "c.parquet")
    assert_refused(
        task, "--data", "parquet:c.parquet", said="parquet:c.parquet (all) has no classes: name class data, or with"
    )
    assert_refused(
        task, "--data", "parquet:c.parquet", "--label-column", "kind", said="no such column in parquet:c.parquet"
    )
    stored = [{"bytes": path.read_bytes(), "path": None} for path in pictures]
    pq.write_table(pa.table({"image": stored}), tmp_path / "i.parquet")
    said = "i.parquet has no column 'title' (columns: image), nor one of classes (label)"
    assert_refused(task, "--data", "parquet:i.parquet", said=said)


def test_one_image_a_class_of_which_none_can_be_held_out(assert_refused: Asked, tmp_path: Path) -> None:
    write(tmp_path / "d", count=1)
    said = "each class has one image, so that none can be held out of what is tested on: two are needed"
    assert_refused("zeroshot", "--data", "imagenet-folder:d", "--val-share", "0.5", said=said)
    assert_refused("fewshot", "--data", "imagenet-folder:d", said=said)
    gc.save(EmbeddingSet(np.eye(3), labels=[0, 1, 2], class_text=np.eye(3), logit_scale=1.0), tmp_path / "v.npz")
    assert_refused("fewshot", "--embeddings", "v.npz", said=said)


def test_accuracy_among_five_of_three_classes_meets_no_condition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"imagenet-folder:{write(tmp_path / 'd', count=2)}"
    asked = ("evaluate", "--task", "zeroshot", "--data", source, "--quiet", "--fail-if", "zeroshot_acc5 < 0.5")
    done = run_cli(capsys, *asked)
    assert done.code == 2
    error = [line for line in done.err.splitlines() if line.startswith("geomclip: error")]
    assert len(error) == 1
    assert "zeroshot_acc5 has no value here (undefined for fewer than 5 classes (3))" in error[0]
