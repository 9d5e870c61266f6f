"""finetune between models that were named: WiSE-FT of any two, soups of several, and what does not mix."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Done, assert_one_line
from safetensors.torch import load_file, save_file
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.encoders import towers
from geomclip.machine.errors import InputError
from geomclip.training.between import short_names

pytestmark = pytest.mark.usefixtures("own_cache")

Cli = Callable[..., Done]
QUICK: dict[str, Any] = {"bootstrap": 0, "metrics": "modality_gap"}
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_csv(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three models of one architecture."""
    folder = tmp_path_factory.mktemp("models")
    return [f"local-dir:{tiny_model(folder / name, seed=seed)}" for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def soup(models: list[str], data: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("soup") / "run"
    return gc.finetune("soup", between=models, data=data, out=out, **QUICK)


def weights(model: str) -> dict[str, torch.Tensor]:
    return dict(load_file(Path(model.removeprefix("local-dir:")) / WEIGHTS))


def test_wise_ft_lies_between_any_two_models_and_before_is_the_first(models, data, tmp_path):
    found = gc.finetune("wise-ft", between=models[:2], data=data, out=tmp_path / "run", **QUICK)
    assert [point for point, _ in found.chosen["points"]] == pytest.approx([k / 10 for k in range(11)])
    alpha = found.chosen["value"]
    one, other, mixed = weights(models[0]), weights(models[1]), load_file(found.folder / "model.safetensors")
    for name in ("visual.proj", "logit_scale"):
        assert torch.allclose(mixed[name], (1 - alpha) * one[name] + alpha * other[name], atol=1e-6), name
    assert found.before.made_from["model"] == "local-dir:a"
    assert any(line.startswith("on val by alpha: 0 ") for line in found.notes)


def test_a_soup_is_the_mean_of_its_members_and_its_table_names_them(models, soup):
    names = [name for name, _ in soup.chosen["points"]]
    assert names[:3] == ["a", "b", "c"]
    assert names[3] == "uniform of a, b, c"
    assert names[4].startswith("greedy of ")
    assert soup.chosen["value"] in names[3:]
    members = ["abc".index(name) for name in soup.chosen["value"].partition(" of ")[2].split(", ")]
    mixed = load_file(soup.folder / "model.safetensors")
    expected = torch.stack([weights(models[place])["visual.proj"] for place in members]).mean(dim=0)
    assert torch.allclose(mixed["visual.proj"], expected, atol=1e-6)
    assert soup.notes[0].startswith(f"after: soup {soup.chosen['value']}, the best on val")


def test_the_folder_and_its_weights_say_what_they_are_a_mixture_of(soup, data, models):
    config = json.loads((soup.folder / "config.json").read_text())
    assert [each["model"] for each in config["between"]] == ["local-dir:a", "local-dir:b", "local-dir:c"]
    made = gc.embed(str(soup.folder), data).made_from["finetuned"]
    assert made["method"] == "soup"
    assert made["between"] == config["between"]
    assert len({each["weights_sha256"] for each in made["between"]}) == 3


def test_a_finished_mixture_is_left_alone_and_another_one_refused(run, soup, data, models):
    file = soup.folder / "model.safetensors"
    before = file.read_bytes()
    code, shown, errors = run("finetune", "--resume", "--out", soup.folder, "--bootstrap=0")
    assert code == 0, errors
    assert "is finished: nothing to do" in errors
    assert "after: soup" in shown
    assert file.read_bytes() == before
    done = run("finetune", "--resume", "--out", soup.folder, "--method", "soup", "--between", *models[:2])
    assert_one_line(done, 2, "began between other models")


def test_words_after_the_option_are_models_up_to_the_next_option(run, models, data, tmp_path):
    out = tmp_path / "run"
    rest = ["--method", "wise-ft", "--data", data, "--out", out, "--bootstrap=0", "--metrics=modality_gap", "--quiet"]
    code, _, errors = run("finetune", "--between", *models[:2], *rest)
    assert code == 0, errors
    assert json.loads((out / "config.json").read_text())["call"]["between"] == ["local-dir:a", "local-dir:b"]
    assert json.loads((out / "config.json").read_text())["call"]["model"] == "local-dir:a"


@pytest.fixture
def architectures(tmp_path: Path) -> Iterator[None]:
    """open_clip knows the architecture Tiny."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_architectures(tmp_path / "configs", patch)
        yield
    forget_architectures(towers)


@pytest.mark.usefixtures("architectures")
def test_a_run_a_file_and_a_model_mix_if_they_are_of_one_kind(run, models, soup, data, tmp_path):
    save_file(weights(str(tiny_model(tmp_path / "d", seed=3))), tmp_path / "tuned.safetensors")
    sides = ["--between", soup.folder, tmp_path / "tuned.safetensors", models[2], "--arch", "Tiny"]
    code, shown, errors = run(
        "finetune", "--method=soup", *sides, "--data", data, "--out", tmp_path / "run", "--bootstrap=0"
    )
    assert code == 0, errors
    assert "on val by soup: run 0." in shown


def other_kind(folder: Path, name: str) -> str:
    """A model that has the shapes of the others, or not, and differs as its name says."""
    changed: dict[str, dict[str, Any]] = {
        "wide": {"embed_dim": 32},
        "deep": {"vision_cfg": {**CONFIG["vision_cfg"], "layers": 3}},
        "quick": {"quick_gelu": True},
        "mean": {"preprocess": {"mean": [0.5, 0.5, 0.5]}},
    }
    return f"local-dir:{tiny_model(folder / name, seed=5, **changed[name])}"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wide", ["are of two architectures: ", "visual.proj (32, 16) and (32, 32)"]),
        ("deep", ["two architectures: visual.transformer.resblocks.2.", " absent and (32,)", "; 7 more"]),
        ("quick", ["have another configuration: quick_gelu False and True: their weights do not mix"]),
        ("mean", ["have another preprocessing: mean [0.48", "] and [0.5, 0.5, 0.5]: their weights do not mix"]),
    ],
)
def test_models_of_two_kinds_are_refused_with_what_differs(run, models, data, tmp_path, name, parts):
    other = other_kind(tmp_path, name)
    out = tmp_path / "run"
    done = run("finetune", "--method=wise-ft", "--between", models[0], other, "--data", data, "--out", out)
    assert_one_line(done, 2, *parts)
    assert done.err.count(" absent and ") <= 5
    assert not out.exists()


def test_a_tokenizer_that_makes_other_tokens_is_refused(models, data, tmp_path, monkeypatch):
    from geomclip.encoders.clip import Encoder

    usual = Encoder.tokenize

    def other(self, texts):
        tokens, cut = usual(self, texts)
        return (tokens.flip(1), cut) if self.model == models[1] else (tokens, cut)

    monkeypatch.setattr(Encoder, "tokenize", other)
    with pytest.raises(InputError, match="have other tokenizers: their weights do not mix"):
        gc.finetune("wise-ft", between=models[:2], data=data, out=tmp_path / "run")


def test_a_colour_that_fills_nothing_up_keeps_no_models_apart(data, tmp_path):
    from geomclip.encoders.export import export

    places = [tiny_model(tmp_path / f"m{i}", seed=i, preprocess={"fill_color": 255 * i}) for i in (0, 1)]
    gc.finetune("wise-ft", between=[f"local-dir:{place}" for place in places], data=data, out=tmp_path / "run")
    export(str(places[0]), "hf", tmp_path / "theirs")
    both = [str(tmp_path / "theirs"), f"local-dir:{places[1]}"]
    gc.finetune("wise-ft", between=both, data=data, out=tmp_path / "other")
    padded = [tiny_model(tmp_path / f"p{i}", preprocess={"fill_color": i, "resize_mode": "longest"}) for i in (0, 1)]
    with pytest.raises(InputError, match="another preprocessing: fill_color 0 and 1"):
        gc.finetune("wise-ft", between=[f"local-dir:{p}" for p in padded], data=data, out=tmp_path / "none")


def test_a_shifted_model_does_not_mix(run, models, data, tmp_path):
    shifted = gc.finetune("es", model=models[1], data=data, out=tmp_path / "es", **QUICK)
    done = run("finetune", "--method=wise-ft", "--between", models[0], shifted.folder, "--data", data)
    assert_one_line(done, 2, "is shifted along the gap: name the model that it was made from")


def test_calls_that_do_not_fit_are_refused(run, models, data):
    a, b, c = models
    for words, reason in (
        (["--method=soup"], "--method soup mixes models: name them with --between"),
        (["--method=soup", "--between", a], "--method soup is between 2 models or more, got 1"),
        (["--method=wise-ft", "--between", a, b, c], "between 2 models, got 3; the mean of several is --method soup"),
        (["--between", a, b], "add --method wise-ft or --method soup"),
        (["--method=es", "--between", a, b], "--between is of models that are mixed"),
        (["--method=soup", "--between", a, a], "has the very weights of"),
        (["--method=soup", "--between", a, b, "--model=demo"], "leave --model demo out"),
        (["--method=soup", "--between", a, b, "--pretrained=openai"], "leave --pretrained openai out"),
        (["--method=soup", "--between", a, b, "--arch=Tiny"], "none of the models is one"),
        (["--method=soup", "--between", a, "nothing-like-it"], "unknown model"),
        (["--method=wise-ft", "--model", a], "any two models are mixed by --between"),
    ):
        assert_one_line(run("finetune", *words, "--data", data), 2, reason)


def test_a_python_caller_reads_names_of_parameters(models, data):
    with pytest.raises(InputError, match=r"method='soup' mixes models: name them with between"):
        gc.finetune("soup", data=data)
    with pytest.raises(InputError, match=r"leave model='demo' out"):
        gc.finetune("soup", between=models, model="demo", data=data)


def test_names_of_folders_are_short_and_told_apart(tmp_path):
    for name in ("x/a", "y/a", "b"):
        (tmp_path / name).mkdir(parents=True)
    names = [str(tmp_path / "x/a"), f"local-dir:{tmp_path / 'y/a'}", "ViT-B-32:openai"]
    assert short_names([{"model": name} for name in names]) == ["a", "a (2)", "ViT-B-32:openai"]
