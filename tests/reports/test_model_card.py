"""geomclip card: what a card says of a run, what the hub reads of it, and what is uploaded and what is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import FakeHub, fake_hub
from helpers import Done, assert_one_line, run_cli
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import forget_architectures, tiny_architectures, tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.encoders import towers
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.progress import Silent
from geomclip.machine.sums import sealed
from geomclip.reports.model_card.public import code, one, public, scrubbed

# huggingface_hub 2.4 sends large files in a way that httpx is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Cli = Callable[..., Done]
QUICK: dict[str, Any] = {"bootstrap": 20, "epochs": 1, "batch_size": 8, "precision": "fp32", "workers": 0}
SPLITS = {"train": 24, "val": 12, "test": 24}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMCLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HF_TOKEN", raising=False)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_csv(tmp_path_factory.mktemp("toy"), splits=SPLITS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("secret-place")
    return [f"local-dir:{tiny_model(folder / name, seed=seed)}" for seed, name in enumerate("ab")]


@pytest.fixture(scope="module")
def kept(models: list[str], data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of training, which is only read."""
    out = tmp_path_factory.mktemp("secret-runs") / "toy-run"
    return Path(gc.finetune("ft", model=models[0], data=data, out=out, **QUICK).folder)


@pytest.fixture
def run(kept: Path, tmp_path: Path) -> Path:
    """The same run, for one test to write into."""
    return Path(shutil.copytree(kept, tmp_path / "toy-run"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, *arguments)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(monkeypatch) as served:
        yield served


def change(run: Path, **parts: Any) -> None:
    """Other parts in config.json, which has its sum."""
    file = run / "config.json"
    file.write_text(json.dumps(sealed({**json.loads(file.read_text()), **parts})))


def unfinished(run: Path, *names: str) -> None:
    """A config.json without these parts, which has its sum."""
    file = run / "config.json"
    file.write_text(json.dumps(sealed({k: v for k, v in json.loads(file.read_text()).items() if k not in names})))


# --- what it says


def test_the_hub_reads_the_front_matter_and_gives_it_back(run):
    written = gc.card(run, license="mit")
    card = ModelCard.load(written.path)
    assert written.path == run / "README.md"
    known = card.data.to_dict()
    assert known["license"] == "mit"
    assert known["library_name"] == "open_clip"
    assert known["pipeline_tag"] == "zero-shot-image-classification"
    assert {"clip", "geomclip", "ft"} <= set(known["tags"])
    assert "base_model" not in known  # a folder is none of the hub's
    assert "datasets" not in known
    results = {result.metric_type: result for result in card.data.eval_results}
    config, after = (json.loads((run / name).read_text()) for name in ("config.json", "after.json"))
    key = "image_retrieval_recall@1"
    before = json.loads((run / "before.json").read_text())["metrics"][key]
    assert results[key].metric_value == round(after["metrics"][key], 6)
    assert results[key].metric_name == f"Recall@1, text → image (before: {before:.4g})"
    assert results[key].dataset_name == "csv:pairs.csv"
    assert results[key].dataset_split == "test"
    assert config["finished"]


def test_it_has_verdict_table_pictures_settings_and_digests(run):
    text = str(gc.card(run))
    config = json.loads((run / "config.json").read_text())
    comparison = gc.compare(gc_panel(run, "before"), gc_panel(run, "after"), bootstrap=20)
    assert f"**verdict: {comparison.verdict.headline}" in text.replace("&lt;", "<")
    row = next(line for line in text.splitlines() if line.startswith("| `text_retrieval_recall@1`"))
    assert f"{comparison['text_retrieval_recall@1'].after:.4f}" in row
    for digest in (*config["data"]["fingerprints"].values(), config["base"]["weights_sha256"]):
        assert f"`{digest}`" in text
    assert "| `batch_size` | `8` |" in text
    assert "| `lora` |" not in text  # as by default
    assert "after: step 3 of 3, the best on val by" in text
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert text.count("![") == 2


def gc_panel(run: Path, side: str) -> Any:
    from geomclip.panels.loading import load

    return load(run / f"{side}.json")


def test_what_is_not_known_is_said_and_a_licence_is_never_guessed(run):
    text = str(gc.card(run))
    assert "The licence of these weights: nobody has named one" in text
    assert "license" not in ModelCard(text).data.to_dict()
    assert "bias, harm and safety were not measured" in text
    assert "Where the base came from: it is not a model of the hub" in text


def test_a_base_of_the_hub_is_named_with_its_licence(run):
    config = json.loads((run / "config.json").read_text())
    change(run, base={**config["base"], "model": "ViT-B-32", "pretrained": "openai"})
    known = ModelCard(str(gc.card(run))).data.to_dict()
    assert known["base_model"] == "openai/clip-vit-base-patch32"
    assert known["base_model_relation"] == "finetune"
    assert known["license"] == "mit"
    assert ModelCard(str(gc.card(run, license="apache-2.0"))).data.license == "apache-2.0"


def test_data_with_a_name_of_their_own_are_named_with_their_licence(run):
    config = json.loads((run / "config.json").read_text())
    change(run, call={**config["call"], "data": "flickr30k"})
    text = str(gc.card(run))
    assert "datasets" not in ModelCard(text).data.to_dict()  # the hub has no data of this name
    assert "Licence of the data: photos: Flickr users'" in text


def test_no_path_of_this_machine_is_in_it(run, tmp_path):
    text = str(gc.card(run))
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert "local-dir:a" in text
    assert "csv:pairs.csv" in text


def test_texts_of_others_are_no_markup(run):
    config = json.loads((run / "config.json").read_text())
    bad = "x`</code><script>alert(1)</script>[a](b)|c\n# d"
    change(run, data={**config["data"], "dataset": bad}, base={**config["base"], "model": bad})
    card = gc.card(run, name="<b>*n*</b>")
    text = str(card)
    body = text.split("---\n", 2)[2]
    outside = re.sub(r"`[^`\n]*`", "", body)
    assert "<script>" not in outside
    assert "<b>" not in outside
    assert "\n# d" not in body
    assert "# &lt;b&gt;\\*n\\*&lt;/b&gt;" in body


@pytest.mark.parametrize("licence", ["mit [x](y)\nz: w", "MIT", "Apache 2.0", "", "-", "https://a/b", "mit\n"])
def test_what_is_no_id_of_a_licence_is_refused(run, licence):
    with pytest.raises(InputError, match="is no id of a licence as the hub has them") as caught:
        gc.card(run, license=licence)
    assert "\n" not in str(caught.value)
    assert not (run / "README.md").exists()


def test_data_of_the_hub_are_linked(run):
    config = json.loads((run / "config.json").read_text())
    change(run, call={**config["call"], "data": "nlphuji/flickr30k"})
    assert ModelCard(str(gc.card(run))).data.datasets == ["nlphuji/flickr30k"]


def test_a_run_that_is_not_finished_says_so_and_has_no_results(run):
    unfinished(run, "finished", "chosen")
    (run / "after.json").unlink()
    text = str(gc.card(run))
    assert "**This run is not finished.** It has weights and numbers before so far." in text
    assert "Not measured after: the run is not finished." in text
    assert ModelCard(text).data.eval_results is None
    for file in ("best.safetensors", "model.safetensors", "before.json"):
        (run / file).unlink()
    text = str(gc.card(run))
    assert "It has neither weights nor numbers so far." in text
    assert "There are no weights yet." in text


def test_a_split_that_was_chosen_by_is_said_to_be_one(run):
    config = json.loads((run / "config.json").read_text())
    prints = config["data"]["fingerprints"]
    assert "24 images, not chosen by and not trained on in this run." in str(gc.card(run))
    change(run, data={**config["data"], "fingerprints": {**prints, "report": prints["val"]}})
    assert "**the same that was chosen by**" in str(gc.card(run))


def test_a_mixture_names_its_members_and_its_points(models, data, tmp_path):
    found = gc.finetune("soup", between=models, data=data, out=tmp_path / "run", bootstrap=0)
    text = str(gc.card(found.folder))
    assert "Weights between `local-dir:a`, `local-dir:b`, chosen on `csv:pairs.csv` by `soup`" in text
    assert "| mixed with it | `local-dir:b` |" in text
    assert "on val by soup: a 0." in text
    assert "| trained on |" not in text
    assert "| `epochs` |" not in text
    assert "wortsman2022soups" in text


def test_a_shifted_model_says_that_geomclip_alone_applies_it(models, data, tmp_path):
    found = gc.finetune("es", model=models[0], data=data, out=tmp_path / "run", bootstrap=0)
    text = str(gc.card(found.folder))
    assert "The shift of its rows is applied by geomclip alone." in text
    assert "library_name" not in ModelCard(text).data.to_dict()
    assert "| direction of the gap | `train` |" in text


def test_other_data_of_the_run_stand_in_it(models, data, tmp_path):
    other = toy_csv(tmp_path / "other", splits={"": 20})
    found = gc.finetune("ft", model=models[0], data=data, also=other, out=tmp_path / "run", **QUICK)
    assert "On other data, `csv:pairs.csv` (" in str(gc.card(found.folder))


def test_the_sphere_is_drawn_on_request_and_not_of_data_that_changed(run, cli):
    card = gc.card(run, sphere=True)
    assert (run / "card-sphere.png").stat().st_size > 10_000
    assert "(card-sphere.png)" in str(card)
    config = json.loads((run / "config.json").read_text())
    prints = {**config["data"]["fingerprints"], "report": "0" * 64}
    change(run, data={**config["data"], "fingerprints": prints})
    assert_one_line(cli("card", run, "--sphere"), 2, "--sphere: the data csv:pairs.csv (test) changed since the run")


def test_the_line_that_loads_it_works(models, data, tmp_path):
    """For an architecture that open_clip has: the very lines of the card, in the run folder."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_architectures(tmp_path / "configs", patch)
        found = gc.finetune("ft", model=models[0], data=data, out=tmp_path / "run", **QUICK)
        text = str(gc.card(found.folder))
        lines = re.search(r"In open_clip:\n\n```python\n(.*?)```", text, re.DOTALL)
        assert lines is not None
        patch.chdir(found.folder)
        names: dict[str, Any] = {}
        exec(lines[1].replace("open_clip.create", "made = open_clip.create"), names)
    forget_architectures(towers)
    state = load_file(found.weights)
    assert all(torch.equal(value, state[name]) for name, value in names["made"][0].state_dict().items())


# --- where it goes


def test_a_file_that_is_no_card_is_not_written_over_and_a_card_is(run, cli, tmp_path):
    (run / "README.md").write_text("# mine\n")
    assert_one_line(cli("card", run), 2, "README.md is there and was not written by geomclip card", "--out")
    assert (run / "README.md").read_text() == "# mine\n"
    out = tmp_path / "card.md"
    for _ in range(2):
        code_, shown, errors = cli("card", run, "--out", out)
        assert (code_, shown) == (0, f"{out}\n"), errors
    assert (tmp_path / "card-reliability-after.png").is_file()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["nowhere"], ["nowhere is no folder: name a run folder of geomclip finetune"]),
        (["."], [". has no config.json"]),
        (["RUN", "--out", "card.txt"], ["must be a file whose name ends in .md"]),
        (["RUN", "--private"], ["--private is of what is uploaded: add --push"]),
        (["RUN", "--include", "log.jsonl"], ["--include is of what is uploaded: add --push"]),
        (["RUN", "--dry-run"], ["--dry-run is of what is uploaded: add --push"]),
        (["RUN", "--push", "toy"], ["--push toy: write ORGANISATION/NAME"]),
        (["RUN", "--push", "../x/y"], ["--push ../x/y: write ORGANISATION/NAME"]),
        (["RUN", "--push", "a/b", "--include", "../x"], ["--include ../x is outside the run folder"]),
        (
            ["RUN", "--push", "a/b", "--include", "nothing.json"],
            ["--include nothing.json is no file of the run folder"],
        ),
        (["RUN", "--push", "a/b"], ["--push a/b: nobody is logged in: hf auth login, or set HF_TOKEN"]),
    ],
)
def test_what_cannot_be_written_or_pushed_is_refused_in_one_line(run, cli, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    done = cli("card", *(str(run) if word == "RUN" else word for word in words))
    assert done.code in (1, 2)
    assert_one_line(done, done.code, *parts)
    assert not (run / "README.md").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"settings": {"method": "nothing"}}, "unknown method 'nothing'"),
        ({"schema": "geomclip.other/1"}, "is not the configuration of a run"),
        ({"chosen": {"metric": "alignment"}}, "is malformed: chosen has no sound 'score'"),
    ],
)
def test_a_damaged_configuration_is_refused(run, cli, damage, reason):
    change(run, **damage)
    assert_one_line(cli("card", run), 2, reason)


# --- upload


def test_card_pictures_and_weights_are_uploaded_and_nothing_else_of_the_folder(run, hub, cli, tmp_path):
    code_, shown, errors = cli("card", run, "--push", "org/toy", "--private")
    assert code_ == 0, errors
    assert shown == f"{hub.address}/org/toy\n"
    (made,) = hub.made
    assert (made["organization"], made["name"]) == ("org", "toy")
    assert made.get("private") or made.get("visibility") == "private"
    names = {name.removeprefix("org/toy/") for name in hub.files}
    pictures = {f"card-reliability-{side}.png" for side in ("before", "after")}
    assert names == {"README.md", "open_clip_config.json", "open_clip_model.safetensors", *pictures}
    assert all(f"  {name} (" in errors for name in names)
    content = b"".join(hub.files.values())
    for secret in (str(tmp_path), "secret-place", "secret-runs", str(Path.home())):
        assert secret.encode() not in content
    assert hub.tokens == {"Bearer hf_of_nobody"}


def test_what_was_uploaded_loads_by_the_lines_of_its_card(run, hub, data, tmp_path, monkeypatch):
    written = gc.card(run, push="org/toy")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    lines = re.search(r"```python\n(.*?)```", str(written), re.DOTALL)
    assert lines is not None
    names: dict[str, Any] = {}
    exec(lines[1], names)
    own = gc.embed(str(run), data).image
    again = gc.embed("hf-hub:org/toy", data, cache_dir=tmp_path / "again").image
    assert torch.equal(own, again)
    from geomclip.encoders import load_encoder

    state = load_encoder(str(run)).module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in names["model"].state_dict().items())
    assert names["tokenizer"](["a dog"]).shape == (1, 12)


def test_a_shifted_model_is_uploaded_as_it_is_and_loads_again(models, data, hub, tmp_path):
    found = gc.finetune("es", model=models[0], data=data, out=tmp_path / "run", bootstrap=0)
    written = gc.card(found.folder, push="org/es")
    assert 'model = hf_hub_download("org/es", "model.safetensors")' in str(written)
    file = tmp_path / "fetched.safetensors"
    file.write_bytes(hub.files["org/es/model.safetensors"])
    with safe_open(file, framework="pt") as opened:
        told = opened.metadata()["geomclip"]
    assert "secret" not in told
    assert str(tmp_path) not in told
    assert torch.equal(gc.embed(str(file), data).image, gc.embed(str(found.folder), data).image)


def test_files_that_are_named_go_too(run, hub):
    written = gc.card(run, push="org/toy", include=["after.json"])
    assert hub.files["org/toy/after.json"] == (run / "after.json").read_bytes()
    assert dict(written.files)["after.json"] == (run / "after.json").stat().st_size
    with pytest.raises(InputError, match=r"include='README.md': something of this name is uploaded already|README.md"):
        gc.card(run, push="org/toy", include=["README.md"])


def test_a_dry_run_lists_and_uploads_nothing(run, cli, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)  # not needed for a list
    code_, shown, errors = cli("card", run, "--push", "org/toy", "--dry-run")
    assert code_ == 0, errors
    assert shown == f"{run / 'README.md'}\n"
    assert "would go to org/toy:" in errors
    assert "  open_clip_model.safetensors (" in errors


def test_the_list_stands_before_the_upload(run, hub):
    seen = []

    class Watching(Silent):
        def log(self, text: str) -> None:
            seen.append((text, len(hub.files)))

    gc.card(run, push="org/toy", progress=Watching())
    assert seen[0] == ("goes to org/toy:", 0)
    assert {count for _, count in seen} == {0}


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "it knows no such token"), (403, "the token may not write there"), (500, "500")]
)
def test_a_hub_that_refuses_is_named_with_its_reason(run, cli, monkeypatch, status, reason):
    with fake_hub(monkeypatch, refuses=status):
        done = cli("card", run, "--push", "org/toy", "--quiet")
    assert done.code == 2
    assert "org/toy: the hub took nothing (" in done.err
    assert reason in done.err
    assert done.err.splitlines()[-1].startswith("geomclip: error: ")


def test_a_hub_that_is_not_there_takes_nothing(run, monkeypatch):
    with fake_hub(monkeypatch) as hub:
        hub.shutdown()
        hub.server_close()
        with pytest.raises(NotAvailableError, match="org/toy: the hub took nothing"):
            gc.card(run, push="org/toy")


def test_a_run_that_is_not_finished_is_not_pushed(run, hub):
    unfinished(run, "finished")
    with pytest.raises(InputError, match="is not finished: go on with resume=True before its weights are pushed"):
        gc.card(run, push="org/toy")
    assert not hub.files


# --- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/a b", "a b"),
        ("~/runs/x/", "x"),
        ("../up/x.npz", "x.npz"),
        ("org/name", "org/name"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("wds:/data/{0..3}.tar", "wds:{0..3}.tar"),
        ("C:\\x is no path here", "C:\\x is no path here"),
        ("image → text and/or 50/50", "image → text and/or 50/50"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("read (/data/x/y.csv)", "read (y.csv)"),
    ],
)
def test_of_a_path_the_last_part_is_public(text, expected):
    assert public(text) == expected


def test_scrubbing_reaches_every_text_and_keeps_all_else():
    assert scrubbed({"a": ["/x/y", 1, None, True], "b": {"c": "csv:/x/y"}}) == {
        "a": ["y", 1, None, True],
        "b": {"c": "csv:y"},
    }


def test_a_line_of_others_stays_one_line():
    assert one("a\n# b\x1b[31m") == "a \\# b \\[31m"
    assert code("a`\n`b") == "`a' 'b`"


def test_writing_a_card_loads_no_hub_before_it_is_needed():
    loaded = "import sys, geomclip.cli.app; print('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"
