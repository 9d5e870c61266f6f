"""Privacy: nothing that a command writes says in whose folder it was made, nor on which machine, unless asked to."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from films import plain, scenes, write
from helpers import folder_of_pairs
from hf_models import hf_folder
from scenes import write_scenes

from geomclip.cli.app import main
from geomclip.encoders import load_encoder
from geomclip.machine.places import keep_paths, shown

TENSORBOARD = ["--tensorboard"] if find_spec("tensorboard") else []
"""It is an extra, whose file names the machine by itself."""

PERSON = "erika-mustermann"
"""A folder in which everything lies, the cache too."""
HOST = "kitchen-laptop"
COMMANDS = {
    "extract": ["extract", "--data", "{csv}", "--out", "{out}/store"],
    "extract a table of absolute paths": ["extract", "--data", "{absolute}", "--out", "{out}/store"],
    "measure": [
        *("measure", "--data", "{csv}", "--by", "source", "--bootstrap", "10"),
        *("--out", "{out}/m.json", "--out", "{out}/m.csv", "--out", "{out}/m.md", "--out", "{out}/m.tex"),
        *("--out", "{out}/m.html", "--fail-if", "alignment > 9", "--summary", "{out}/summary.md"),
    ],
    "measure a file": ["measure", "--embeddings", "{npz}", "--bootstrap", "0", "--out", "{out}/f.json"],
    "measure a model of transformers": ["measure", "--model", "{hf}", "--data", "{csv}", "--out", "{out}/h.json"],
    "finetune": [
        *("finetune", "--method", "ft", "--data", "{csv}", "--model", "{hf}", "--holdout", "0.3", "--out", "{out}/run"),
        *("--batch-size", "4", "--epochs", "1", "--save-every", "1", "--bootstrap", "0", "--also", "{folder}"),
        *TENSORBOARD,
        *("--fail-if", "alignment > 9", "--summary", "{out}/summary.md"),
    ],
    "compare": [
        *("compare", "{npz}", "{other}", "--bootstrap", "0", "--out", "{out}/c.json", "--out", "{out}/c.csv"),
        *("--out", "{out}/c.md", "--out", "{out}/c.tex", "--out", "{out}/c.html"),
    ],
    "compare three": ["compare", "{npz}", "{other}", "{npz2}", "--bootstrap", "0", "--out", "{out}/c.json"],
    "report": ["report", "{npz}", "--out", "{out}/r.html"],
    "plot-sphere": ["plot-sphere", "--embeddings", "{npz}", "--out", "{out}/s.html", "--out", "{out}/s.svg"],
    "project": ["project", "--method", "pca", "--embeddings", "{npz}", "--out", "{out}/p.json"],
    "project to a page": ["project", "--method", "pca", "--embeddings", "{npz}", "--out", "{out}/p.html"],
    "ground predict": [
        *("ground", "predict", "{video}", "--query", "red", "--out", "{out}/g.json", "--out", "{out}/g.html"),
    ],
    "ground train": [
        *(
            "ground",
            "train",
            "--annotations",
            "{scenes}",
            "--features",
            "{features}",
            "--out",
            "{out}/run",
            "--clips",
            "8",
        ),
        *("--width", "8", "--batch-size", "4", "--epochs", "1"),
    ],
}


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder, as cache, home and place of all that is read."""
    root = tmp_path_factory.mktemp("home") / PERSON
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMCLIP_CACHE", str(root / "cache"))
        patch.setattr(socket, "gethostname", lambda: HOST)
        yield root


@pytest.fixture(scope="module")
def named(person: Path) -> dict[str, str]:
    """What commands read, by their absolute paths."""
    pictures = folder_of_pairs(person / "pictures", 16)
    tables = {}
    for kind, start in (("csv", ""), ("absolute", f"{pictures}/")):
        rows = [[f"{start}{i:03}.png", f"noise number {i}", "ab"[i % 2]] for i in range(16)]
        file = (pictures if kind == "csv" else person) / f"{kind}.csv"
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([["filepath", "title", "source"], *rows])
        tables[kind] = f"csv:{file}"
    sets = {}
    for seed, name in enumerate(("npz", "other", "npz2")):
        rows = torch.randn(12, 8, generator=torch.Generator().manual_seed(seed)).numpy()
        sets[name] = str(person / f"set-{seed}.npz")
        np.savez(sets[name], image=rows, text=rows[::-1].copy())
    (person / "films").mkdir()
    write(person / "films" / "red.mp4", scenes([plain("red"), plain("blue")], [2, 2]))
    annotations, features = write_scenes(person / "scenes", videos=6)
    more = {"folder": f"folder:{pictures}", "hf": str(hf_folder(person / "my-clip")[0])}
    more |= {"video": str(person / "films" / "red.mp4"), "scenes": str(annotations), "features": str(features)}
    return tables | sets | more


def run(words: list[str], named: dict[str, str], out: Path) -> None:
    arguments = [word.format(out=out, **named) for word in words]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main([*arguments, "--quiet"])
    assert code == 0, errors.getvalue()


def told(folder: Path) -> list[str]:
    """The files of a folder that say where they were made, in their names or in what they hold."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        held = file.read_bytes()
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            held += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
        name = str(file.relative_to(folder))
        found += [f"{word} in {name}" for word in (PERSON, HOST) if word in name or word.encode() in held]
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_where_it_ran(name: str, named: dict[str, str], person: Path) -> None:
    out = person / "out" / name.replace(" ", "-")
    out.mkdir(parents=True)
    run(COMMANDS[name], named, out)
    assert len(list(out.rglob("*"))) > 0
    assert told(out) == []


def test_what_is_told_would_be_found(named: dict[str, str], person: Path) -> None:
    out = person / "kept"
    out.mkdir()
    run([*COMMANDS["report"], "--keep-paths"], named, out)
    run([*COMMANDS["extract"], "--keep-paths"], named, out)
    assert told(out) == [f"{PERSON} in r.html", f"{HOST} in store/manifest.json"]


def test_a_run_goes_on_with_data_and_model_that_only_the_cache_knows(named: dict[str, str], person: Path) -> None:
    out = person / "again"
    out.mkdir()
    run(COMMANDS["finetune"], named, out)
    config = json.loads((out / "run" / "config.json").read_text())
    assert (config["call"]["data"], config["call"]["model"]) == ("csv:csv.csv", "my-clip")
    assert config["call"]["also"] == ["folder:pictures"]
    moved = (out / "run").rename(out / "moved")
    run(["finetune", "--resume", "--out", str(moved), "--epochs", "2"], named, out)
    assert json.loads((moved / "config.json").read_text())["finished"]
    assert told(moved) == []
    again = load_encoder(str(moved))  # by the tokenizer of the model, of which the checkpoint has the sum
    assert again.tokenizer_source == named["hf"]


def test_a_run_whose_places_are_forgotten_asks_for_them(
    named: dict[str, str], person: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = person / "forgotten"
    out.mkdir()
    words = ["finetune", "--method", "ft", "--data", named["csv"], "--holdout", "0.3", "--epochs", "1"]
    run([*words, "--batch-size", "4", "--bootstrap", "0", "--out", "{out}/run"], named, out)
    monkeypatch.setenv("GEOMCLIP_CACHE", str(person / "new-cache"))
    resume = ["finetune", "--resume", "--out", str(out / "run"), "--epochs", "2", "--quiet"]
    assert main(resume) == 2
    assert "name it again with --data" in capsys.readouterr().err
    assert main([*resume, "--data", named["csv"]]) == 0


def test_a_store_goes_on_whatever_its_model_was_called(named: dict[str, str], person: Path) -> None:
    out = person / "goes-on"
    out.mkdir()
    words = ["extract", "--model", named["hf"], "--data", named["csv"], "--out", "{out}/store"]
    run([*words, "--keep-paths"], named, out)
    whole = json.loads((out / "store" / "manifest.json").read_text())
    assert whole["made_from"]["model"] == named["hf"]
    run(words, named, out)  # finished, and not refused


def test_paths_inside_the_working_folder_stay_as_they_are() -> None:
    assert shown("runs/a") == "runs/a"
    assert shown("csv:data/pairs.csv") == "csv:data/pairs.csv"
    assert shown(os.path.join("..", "x")) == "x"
    with keep_paths():
        assert shown("/home/a/b") == "/home/a/b"
