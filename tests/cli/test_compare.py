"""`geomclip compare`: what its sides may be, what it prints and writes, its gates, and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Done, assert_one_line, class_set, folder_of_pairs, random_rows, run_cli, small_set, with_influences
from tiny_models import tiny_model

import geomclip as gc
from geomclip.machine.sums import unsealed
from geomclip.panels import sources
from geomclip.panels.comparison.record import VERDICTS
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, "compare", *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results a.json and b.json of the vectors a.npz and b.npz, and classes.npz."""
    folder = tmp_path_factory.mktemp("sides")
    before = small_set(20, 2)
    assert before.text is not None
    after = before.replace(text=before.text + 0.4 * random_rows(40, 16, seed=9))
    for name, each in (("a", before), ("b", after)):
        gc.save(each, folder / f"{name}.npz")
        with_influences(measure(each, bootstrap=100)).save(folder / f"{name}.json")
    gc.save(class_set(), folder / "classes.npz")
    gc.save(before, folder / "store")
    return folder


# --- sides


def test_two_results_give_a_table(run: Cli, place: Path) -> None:
    sides = place / "a.json", place / "b.json"
    done = run(*sides)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    block = lines[: lines.index("")]
    assert block[0].startswith("verdict  ")
    assert lines[-len(block) :] == block  # it begins and ends with it
    lines = lines[len(block) + 1 :]
    assert lines[0].startswith("before  ")
    assert "a.json: toy (test) · none" in " ".join("".join(lines[:3]).split())  # a long folder wraps its line
    assert "paired intervals, for other images of their kind" in done.out
    assert "paired intervals of 1,000 resamples, for this gallery" in run(*sides, "--resample", "queries").out
    assert sum(line.startswith("Modality gap  ") for line in lines) == 1
    assert max(map(len, lines[6:])) <= 80
    assert ": --full" in done.out
    full = run(*sides, "--full").out
    assert sum(line.split()[:1] == ["modality_gap"] for line in full.splitlines()) == 1
    assert "--full" not in full
    assert json.loads(run(*sides, "--full", "--json").out) == json.loads(run(*sides, "--json").out)


@pytest.mark.parametrize("pair", [("a.npz", "b.npz"), ("store", "b.npz"), ("a.json", "b.npz"), ("store", "b.json")])
def test_results_and_vectors_give_the_same_differences(run: Cli, place: Path, pair: tuple[str, str]) -> None:
    options = ["--bootstrap", 100, "--resample", "queries", "--json"]
    done = run(place / pair[0], place / pair[1], *options)
    of_results = json.loads(run(place / "a.json", place / "b.json", *options).out)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["paired"] is True
    for key, row in of_results["metrics"].items():
        assert result["metrics"][key]["difference"] == pytest.approx(row["difference"], abs=1e-5), key
        if row["ci"] is not None and "separability" not in key:
            assert result["metrics"][key]["ci"] == pytest.approx(row["ci"], abs=2e-4), key


def test_models_are_extracted_on_the_data_and_measured(run: Cli, tmp_path: Path) -> None:
    models = [f"local-dir:{tiny_model(tmp_path / f'm{seed}', seed=seed)}" for seed in (0, 1)]
    data = f"folder:{folder_of_pairs(tmp_path / 'data', 8)}"
    common = ["--data", data, "--workers", 0, "--bootstrap", 20, "--cache-dir", tmp_path / "cache", "--json"]
    done = run(*models, *common, "--limit", 7, "--metrics", "alignment,image_retrieval_recall@1")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert [result[side]["model"] for side in ("before", "after")] == ["local-dir:m0", "local-dir:m1"]
    assert result["n_images"] == 7
    assert list(result["metrics"]) == ["alignment", "image_retrieval_recall@1"]
    assert result["paired"] is True
    assert result["metrics"]["alignment"]["difference"] != 0
    assert any("7 images that are no copies of each other: below 20" in note for note in result["notes"])
    again = json.loads(run(models[0], models[0], *common).out)
    assert {row["verdict"] for row in again["metrics"].values() if row["difference"] is not None} == {"same"}


def test_a_file_of_weights_takes_the_architecture_and_a_name_the_tag(
    run: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import geomclip.encoders.extraction.calls
    import geomclip.encoders.names

    seen = []
    monkeypatch.setattr(geomclip.encoders.names, "resolve", lambda name, **options: None)

    def embed(model: str, pairs: object, **options: object) -> object:
        seen.append((model, options.get("arch"), options.get("pretrained"), options["batch_size"]))
        return small_set(4)

    monkeypatch.setattr(geomclip.encoders.extraction.calls, "embed", embed)
    data = ["--data", f"folder:{folder_of_pairs(place / 'data', 3)}", "--batch-size", 7, "--bootstrap", 0]
    assert run("x.pt", "RN50", "--arch", "ViT-B-32", "--pretrained", "openai", *data).code == 0
    assert seen == [("x.pt", "ViT-B-32", None, 7), ("RN50", None, "openai", 7)]


def test_what_a_side_is_shows_in_its_name_or_in_the_folder(place: Path) -> None:
    (place / "run").mkdir(exist_ok=True)
    names = ["a.json", "a.npz", "a.npy", "x.pt", "x.safetensors", "store", "run"]
    assert [sources.kind(place / name) for name in names] == [
        "result",
        "vectors",
        "vectors",
        "file",
        "file",
        "vectors",
        "model",
    ]
    weights = {"module.visual.proj": torch.zeros(8, 4), "module.text_projection": torch.zeros(6, 4)}
    torch.save({"state_dict": weights | {"module.ln_final.weight": torch.zeros(6)}}, place / "epoch_1.pt")
    assert sources.kind(place / "epoch_1.pt") == "file"  # whose projections are not rows of images and texts
    assert sources.kind("ViT-B-32:laion2b_s34b_b79k") == "model"
    assert sources.kind("hf-hub:org/repo.json-clip") == "model"


# --- what it gives


@pytest.mark.parametrize("name", ["x.json", "x.csv", "x.md"])
def test_the_comparison_is_written_as_the_name_says(run: Cli, place: Path, tmp_path: Path, name: str) -> None:
    done = run(place / "a.json", place / "b.json", "--out", tmp_path / name)
    assert done.code == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    text = (tmp_path / name).read_text()
    if name == "x.json":
        assert json.loads(text)["before"]["name"].endswith("a.json")
    elif name == "x.csv":
        assert {line["verdict"] for line in csv.DictReader(text.splitlines())} <= {*VERDICTS, ""}
    else:
        assert "| `alignment` | ↓ |" in text


def test_groups_by_a_column_stand_below(run: Cli, place: Path) -> None:
    done = run(place / "a.npz", place / "b.npz", "--by", "source", "--metrics", "alignment", "--bootstrap", 50)
    assert "groups of fewer than 20 images have no intervals and no verdicts: a, b" in " ".join(done.out.split())
    assert ["by", "source", "all", "a", "b"] in [line.split() for line in done.out.splitlines()]


def test_the_temperature_goes_to_both_sides(run: Cli, place: Path) -> None:
    result = json.loads(run(place / "a.npz", place / "b.npz", "--temperature", 0.1, "--bootstrap", 0, "--json").out)
    assert [result[side]["logit_scale"] for side in ("before", "after")] == [10.0, 10.0]


def test_python_takes_paths_panels_and_sets(place: Path) -> None:
    by_path = gc.compare(place / "a.json", str(place / "b.json"), bootstrap=50)
    panels = [load(place / name) for name in ("a.json", "b.json")]
    assert gc.compare(*panels, bootstrap=50).rows == by_path.rows
    assert gc.compare(panels[0], gc.load(place / "b.npz"), bootstrap=50)["alignment"].paired
    assert isinstance(by_path, gc.Comparison)


def test_python_reads_parameters_where_the_command_line_reads_flags(run: Cli, place: Path) -> None:
    sides = place / "a.json", place / "b.json"
    with pytest.raises(gc.InputError, match=r"^data_root, limit say how to extract, and neither side is a model"):
        gc.compare(*sides, data_root="d", limit=4)
    assert_one_line(run(*sides, "--data-root", "d", "--limit", 4), 2, "--data-root, --limit say how to extract")


def test_quiet_says_nothing_on_stderr(run: Cli, place: Path) -> None:
    assert run(place / "a.json", place / "b.json", "--quiet").err == ""


def test_quiet_leaves_the_verdict_alone(run: Cli, place: Path) -> None:
    done = run(place / "a.json", place / "b.json", "--quiet")
    whole = run(place / "a.json", place / "b.json").out.splitlines()
    assert done.out.splitlines() == whole[: whole.index("")]
    assert 2 <= len(done.out.splitlines()) <= 8
    assert json.loads(run(place / "a.json", place / "b.json", "--quiet", "--json").out)["verdict"]["headline"]


# --- more than two sides


def test_three_results_stand_side_by_side(run: Cli, place: Path) -> None:
    done = run(place / "a.json", place / "b.json", place / "a.npz", "--bootstrap", 100)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert ["a.json", "b.json", "a.npz"] in lines
    assert sum(line[:3] == ["R@1", "image", "→"] for line in lines) == 1
    assert "more: --full\n" in done.out
    assert done.out.startswith("verdict      b.json: ")
    full = run(place / "a.json", place / "b.json", place / "a.json", "--full").out.splitlines()
    assert ["a.json", "b.json", "a.json", "(2)"] in [line.split() for line in full]
    assert sum(line.split()[:1] == ["modality_gap"] for line in full) == 1


@pytest.mark.parametrize("name", ["x.json", "x.csv", "x.md"])
def test_three_results_are_written_as_the_name_says(run: Cli, place: Path, tmp_path: Path, name: str) -> None:
    sides = place / "a.json", place / "b.json", place / "a.json"
    done = run(*sides, "--json", "--out", tmp_path / name)
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert list(printed["comparisons"]) == ["b.json", "a.json (2)"]
    assert printed["comparisons"]["b.json"]["before"]["name"].endswith("a.json")
    if name == "x.json":
        assert unsealed(json.loads((tmp_path / name).read_text())) == printed
    assert "b.json" in (tmp_path / name).read_text()


def test_a_gate_on_several_sides_trips_for_any_and_names_it(run: Cli, place: Path) -> None:
    sides = place / "a.json", place / "a.json", place / "b.json"
    done = run(*sides, "--fail-if", "alignment>0.001", "--warn-if", "alignment>-1")
    assert done.code == 3
    warning, error = done.err.splitlines()
    assert error.startswith("geomclip: error: --fail-if b.json: 'alignment>0.001': the change of alignment is ")
    assert warning.startswith("geomclip: warning: --warn-if a.json (2): 'alignment>-1'")
    assert "; b.json: 'alignment>-1'" in warning
    assert run(*sides, "--fail-if", "alignment<-0.1").code == 0


# --- gates


def test_a_gate_that_does_not_hold_passes(run: Cli, place: Path) -> None:
    gate = ["--primary", "alignment", "--fail-if", "alignment<-5", "--fail-if", "alignment better"]
    done = run(place / "a.json", place / "b.json", *gate, "--fail-if", "text_retrieval_mean_rank better and q<0.05")
    assert (done.code, done.err) == (0, "")


def test_a_gate_that_holds_exits_with_3_after_the_table_and_the_file(run: Cli, place: Path, tmp_path: Path) -> None:
    gate = ["--fail-if", "alignment>0.001", "--fail-if", "alignment worse and q < 0.05", "--fail-if", "alignment<0"]
    done = run(place / "a.json", place / "b.json", *gate, "--out", tmp_path / "x.json")
    assert done.code == 3
    assert done.err.count("\n") == 1
    change = json.loads((tmp_path / "x.json").read_text())["metrics"]["alignment"]["difference"]
    assert f"'alignment>0.001': the change of alignment is {change:.6g} (" in done.err
    assert "; 'alignment worse and q < 0.05': " in done.err
    assert "alignment<0'" not in done.err
    assert "Modality gap" in done.out


def test_a_warning_is_a_line_on_stderr_and_no_failure(run: Cli, place: Path) -> None:
    sides = place / "a.json", place / "b.json"
    done = run(*sides, "--warn-if", "alignment>0.001", "--warn-if", "alignment<0", "--quiet")
    assert done.code == 0
    assert done.err.startswith("geomclip: warning: --warn-if 'alignment>0.001': the change of alignment is ")
    assert done.err.count("\n") == 1
    both = run(*sides, "--warn-if", "alignment>0", "--fail-if", "alignment>0.001")
    assert both.code == 3
    assert [line.split(": ")[1] for line in both.err.splitlines()] == ["warning", "error"]


def test_primary_keys_are_named_once_or_with_commas(run: Cli, place: Path) -> None:
    sides = place / "a.json", place / "b.json", "--json"
    named = ["alignment", "text_retrieval_mean_rank"]
    for words in (["--primary", named[0], "--primary", named[1]], ["--primary", ",".join(named)]):
        assert json.loads(run(*sides, *words).out)["params"]["primary"] == named
    usual = ["text_retrieval_recall@1", "image_retrieval_recall@1"]
    assert json.loads(run(*sides).out)["params"]["primary"] == usual


def test_a_gate_on_a_number_without_a_difference_is_no_pass(run: Cli, place: Path) -> None:
    done = run(place / "a.json", place / "b.json", "--fail-if", "truncated_text_share>0")
    assert done.code == 2
    assert "unknown metric 'truncated_text_share'" in done.err or "has no difference" in done.err


# --- refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "BEFORE"),
        (["a.json"], "AFTER"),
        (["a.json", "c.json"], "c.json cannot be read (No such file"),
        (["a.json", "b.json", "c.json"], "c.json cannot be read (No such file"),
        (["a.json", "b.json", "a.json", "--out", "x.html"], "x.html: a page shows two sides: compare two, or"),
        (["a.npz", "b.npz", "classes.npz"], "classes.npz: one side has pairs, the other classes"),
        (["a.json", "b.json", "a.json", "--metrics", "all"], "--metrics says how to measure, and all sides are"),
        (["a.json", "c.npz"], "c.npz: no such file"),
        (["a.json", "empty"], "empty is a folder, but no store of embeddings, no run of finetune and no model"),
        (["a.json", "deno"], "deno"),
        (["a.json", "b.json", "--out", "x"], "x must end in .json, .csv, .md, .tex or .html"),
        (["a.npz", "b.npz", "--no-thumbnails"], "--no-thumbnails is of a page: --out FILE.html writes one"),
        (["a.json", "b.json", "--out", "x.html", "--data", "emoji"], "--data says where images lie, and both sides"),
        (["a.npz", "b.npz", "--out", "x.html", "--limit", "3"], "--limit says how to extract"),
        (["a.json", "b.json", "--out", "absent/x.json"], "absent does not exist"),
        (["a.json", "b.json", "--data", "emoji", "--batch-size", "3"], "--data, --batch-size say how to extract"),
        (
            ["a.npz", "b.npz", "--device", "cpu"],
            "--device says how to extract, and neither side is a model: leave it out",
        ),
        (["a.npz", "b.npz", "--pretrained", "random"], "--pretrained says which weights a named model has"),
        (["a.npz", "b.npz", "--arch", "RN50"], "--arch says what a file of weights is"),
        (["a.json", "b.json", "--metrics", "all"], "--metrics says how to measure, and both sides are results"),
        (["a.json", "b.json", "--temperature", "1"], "--logit-scale says how to measure"),
        (["a.npz", "b.npz", "--temperature", "1", "--logit-scale", "1"], "give one of them"),
        (["a.npz", "b.npz", "--metrics", "alignmet"], "alignment"),
        (["a.npz", "b.npz", "--by", "sauce"], "no column 'sauce'"),
        (["a.npz", "b.npz", "--fail-if", "alignmet<0"], "unknown metric 'alignmet'; nearest: alignment"),
        (["a.npz", "b.npz", "--fail-if", "alignment"], "write KEY<NUMBER"),
        (["a.npz", "b.npz", "--fail-if", "twonn_image<0", "--metrics", "alignment"], "unknown metric 'twonn_image'"),
        (["a.npz", "b.npz", "--warn-if", "alignmet<0"], "unknown metric 'alignmet'; nearest: alignment"),
        (
            ["a.json", "b.json", "--fail-if", "alignment worse"],
            "add 'and q<0.05', or name it before looking by --primary alignment",
        ),
        (["a.json", "b.json", "--fail-if", "modality_gap worse"], "neither better nor worse"),
        (["a.json", "b.json", "--fail-if", "alignment<0 and q<0.05", "--bootstrap", "0"], "leaves no intervals"),
        (["a.npz", "b.npz", "--primary", "alignmet"], "--primary alignmet: not among the numbers compared; nearest"),
        (["a.json", "b.json", "--primary", "zeroshot_acc1"], "--primary zeroshot_acc1: not among the numbers"),
        (
            ["a.json", "b.json", "--primary", "uniformity_image"],
            "--primary uniformity_image: a change of it is neither",
        ),
        (["a.json", "b.json", "--resample", "images"], "--resample"),
        (["a.npz", "classes.npz"], "one side has pairs, the other classes"),
        (["a.json", "b.json", "--bootstrap", "-1"], "--bootstrap"),
        (["a.json", "b.json", "--intersec"], "did you mean --intersect or --points or --cite?"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    run: Cli, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(place)
    Path("empty").mkdir(exist_ok=True)
    before = {path.name for path in place.iterdir()}
    assert_one_line(run(*arguments), 2, expected)
    assert {path.name for path in place.iterdir()} == before


def test_a_mistyped_gate_on_results_is_told_with_the_nearest_names(run: Cli, place: Path) -> None:
    done = run(place / "a.json", place / "b.json", "--fail-if", "modality_gab>0")
    assert done.code == 2
    assert "nearest: modality_gap" in done.err


def test_sets_that_differ_need_intersect(run: Cli, place: Path, tmp_path: Path) -> None:
    some = gc.load(place / "b.npz").select_images(torch.arange(4, 20))
    gc.save(some, tmp_path / "some.npz")
    measure(some, bootstrap=20).save(tmp_path / "some.json")
    for name in ("some.npz", "some.json"):
        before = place / f"a{name[4:]}"
        assert_one_line(run(before, tmp_path / name), 2, "4 images are only before", "16 are shared: --intersect")
        done = run(before, tmp_path / name, "--intersect", "--bootstrap", 20, "--json")
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert result["n_images"] == 16
        assert any("shared, of 20" in note for note in result["notes"])


def test_a_damaged_result_is_named(run: Cli, place: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text((place / "a.json").read_text()[:500])
    assert_one_line(run(place / "a.json", tmp_path / "r.json"), 2, "r.json is not readable as JSON")
    (tmp_path / "r.json").write_text((place / "a.json").read_text())
    (tmp_path / "r.items.parquet").write_bytes(b"PAR1")
    assert_one_line(run(place / "a.json", tmp_path / "r.json"), 2, "r.items.parquet is not a readable parquet file")
