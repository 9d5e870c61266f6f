"""The study of the fine-tuning methods at toy size: it runs, goes on, and says what its numbers say."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, on_circle, picture
from tiny_models import tiny_model

sys.path.insert(0, str(ROOT / "analyses"))

import finetune_methods as study
import finetune_methods_report as reporting


def toy_set(folder: Path) -> Path:
    """A csv of 16 training and 6 val images with two captions each; no test split."""
    folder.mkdir()
    with (folder / "toy.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "title", "split"])
        for i in range(22):
            (folder / f"{i}.png").write_bytes(picture(i))
            for text in (f"noise {i}", f"picture number {i}"):
                table.writerow([f"{i}.png", text, "train" if i < 16 else "val"])
    return folder / "toy.csv"


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


def test_the_study_runs_goes_on_and_reports(tmp_path: Path, threads: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    model = tiny_model(tmp_path / "model")
    arguments = [str(tmp_path / "study"), "--data", f"csv:{toy_set(tmp_path / 'set')}", "--base", f"local-dir:{model}"]
    arguments += ["--steps", "2", "--batch-size", "4", "--val", "4", "--lrs", "1e-3", "--seeds", "2"]
    study.main([*arguments, "--methods", "ft"])
    assert "grid: 1 of 1 runs to make" in capsys.readouterr().out
    folder = tmp_path / "study" / "toy"
    kept = {file.name: file.read_bytes() for file in (folder / "runs").glob("*.json")}
    assert set(kept) == {"ft-lr0.001-seed0.json", "ft-lr0.001-seed1.json"}
    (folder / "runs" / "ft-lr0.001-seed1.json").unlink()  # as if it had been stopped just before its end

    study.main([*arguments, "--methods", "ft", "--engine", "process"])
    said = capsys.readouterr().out
    assert "grid: 0 of 1 runs to make" in said
    assert "seeds: 1 of 1 runs to make" in said
    assert (folder / "runs" / "ft-lr0.001-seed0.json").read_bytes() == kept["ft-lr0.001-seed0.json"]

    study.main([*arguments, "--seeds", "1", "--methods", "m2mix x10", "wise-ft", "es"])
    runs = reporting.Runs("toy", [json.loads(file.read_text()) for file in sorted((folder / "runs").glob("*.json"))])
    assert {method: len(runs.chosen(method)) for method in runs.methods()} == {
        "ft": 2,
        "m2mix x10": 1,
        "wise-ft": 1,
        "es": 1,
    }
    (tenfold,) = runs.chosen("m2mix x10")
    assert tenfold["settings"]["weights"]["m2_mix"] == 0.2
    assert [step for step, _ in tenfold["path"]] == [0, 1, 2]
    assert runs.values("base", "alignment") != runs.values("m2mix x10", "alignment")
    # the 12 training images left after 4 for val; the 6 of val are what is reported on
    splits = [row["split"] for row in rows_of(folder / "pairs.csv")]
    assert [splits.count(split) for split in ("train", "val", "test")] == [24, 8, 12]

    study.main([str(tmp_path / "study"), "--report", str(tmp_path / "report")])
    (table,) = (tmp_path / "report").glob("*.md")
    assert "| m2mix x10 | " in table.read_text()
    assert {file.suffix for file in (tmp_path / "report").iterdir()} == {".md", ".csv", ".png"}


def test_the_base_is_trained_on_other_pairs_than_the_methods(tmp_path: Path) -> None:
    study.prepare(f"csv:{toy_set(tmp_path / 'set')}", tmp_path, data_root=None, limit=None, scratch=True, val=4)
    tables = {name: rows_of(tmp_path / name) for name in ("base.csv", "pairs.csv")}
    seen = [{row["filepath"] for row in rows if row["split"] == "train"} for rows in tables.values()]
    assert [len(each) for each in seen] == [7, 5]
    assert not seen[0] & seen[1]
    assert not {row["filepath"] for row in tables["pairs.csv"] if row["split"] != "train"} & (seen[0] | seen[1])


def test_mixed_negatives_of_two_poles_lie_between_them() -> None:
    # images at 0° and 180°, their texts at 90° and 270°: negatives are orthogonal to their anchors; mixed with
    # their own image at λ = ½ they are 135° from it, so that mixing takes them further away
    told = study.hardness(on_circle(0, 180), on_circle(90, 270))
    assert told["plain_mean"] == pytest.approx(0, abs=1e-12)
    assert told["mixed_mean"] < -0.3
    assert told["mixed_harder"] == 0
    # two narrow cones far apart: the partner of a negative is of the anchor's own kind, and close to it
    cones = study.hardness(on_circle(0, 10, 20), on_circle(80, 90, 100))
    assert cones["mixed_mean"] > cones["plain_mean"] + 0.3
    assert cones["mixed_hardest"] > cones["plain_hardest"]
    assert cones["mixed_harder"] > 0.9


@pytest.mark.parametrize(
    ("differences", "direction", "said"),
    [
        ([-0.3, -0.2, -0.25], "lower", "better"),
        ([-0.3, -0.2, -0.25], "higher", "worse"),
        ([0.3, -0.2, 0.25], "higher", "unclear"),
        ([0.9, 0.1, 0.01], "higher", "unclear"),
        ([1.0, 1.0, -0.05], "higher", "unclear"),  # mean 0.65, standard deviation 0.61, but not of one sign
        ([0.1], "higher", "better"),
        ([0.0, 0.0, 0.0], "lower", "unclear"),
    ],
)
def test_a_claim_holds_where_all_seeds_agree_by_more_than_they_differ(differences, direction, said) -> None:
    assert reporting.verdict(differences, direction) == said


def test_every_method_of_the_table_is_studied() -> None:
    from geomclip.training.methods import METHODS

    studied = {method for method, _ in study.TRAINED.values()} | set(study.WITHOUT_TRAINING)
    assert studied == set(METHODS) - {"soup"}  # of models that a study would have to choose: it has none to mix
    assert {*study.TRAINED, *study.WITHOUT_TRAINING, "base"} == set(reporting.STYLES)
    assert len(set(reporting.STYLES.values())) == len(reporting.STYLES)


def test_the_quantiles_of_the_mixing_share_are_those_of_its_beta() -> None:
    from scipy.stats import beta

    quantiles = (torch.arange(10) + 0.5) / 10
    assert study.shares().tolist() == pytest.approx(beta(0.5, 0.5).ppf(quantiles.numpy()).tolist(), abs=1e-6)
