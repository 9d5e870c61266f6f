"""Models of sentence-transformers: their rows are those of their own `encode`, and no code of theirs is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_one_line, folder_of_pairs, run_cli
from tiny import tiny_pairs
from tiny_models import CONFIG, tiny_model

from geomclip.encoders.custom import encoder_of, is_custom, sentence
from geomclip.encoders.export import export
from geomclip.encoders.extraction.calls import embed
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import Pairs
from geomclip.pairs.images import decode
from geomclip.pairs.record import Pair, TextQuery

package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules", reason="a release before 6")

PROMPTS = {"query": "find: ", "document": "text: "}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP as sentence-transformers saves it."""
    folder = tmp_path_factory.mktemp("sentence")
    tiny_model(folder / "tiny", text_cfg=CONFIG["text_cfg"] | {"context_length": 77})
    export(f"local-dir:{folder / 'tiny'}", to="hf", out=folder / "hf")
    with sentence._quietly():
        model = package.SentenceTransformer(modules=[modules.Transformer(str(folder / "hf"))])
        model.save(str(folder / "st"))
        model.prompts = PROMPTS
        model.save(str(folder / "prompted"))
    return folder


def loaded(folder: Path) -> Any:
    with sentence._quietly():
        return package.SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def unit(rows: Any) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.as_tensor(rows).double(), dim=1).float()


def expected(model: Any, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = [decode(pair.image.read(), name="") for pair in pairs.pairs]
    return unit(model.encode(pictures)), unit(model.encode(pairs.texts()[0]))


@pytest.mark.parametrize("batch_size", [3, 64])
def test_rows_are_those_of_encode(clip: Path, tmp_path: Path, batch_size: int) -> None:
    pairs, model = tiny_pairs(tmp_path / "images", 12), loaded(clip / "st")
    image, text = expected(model, pairs)
    how: dict[str, Any] = {"batch_size": batch_size, "cache_dir": tmp_path / "cache"}
    for found in (embed(model, pairs, **how), embed(f"st:{clip / 'st'}", pairs, **how)):
        assert found.text is not None
        assert (found.image - image).abs().max() < 1e-6
        assert (found.text - text).abs().max() < 1e-6


def test_the_logit_scale_is_that_of_the_clip_model(clip: Path) -> None:
    found = encoder_of(f"st:{clip / 'st'}")
    assert found.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert encoder_of(f"st:{clip / 'st'}", logit_scale=5.0).logit_scale == 5


def test_queries_and_documents_get_the_prompts_of_the_model(clip: Path, tmp_path: Path) -> None:
    data = [(f"query {i}", f"document {i}") for i in range(5)]
    pairs = Pairs("t", "all", [Pair(query, TextQuery(query), (document,)) for query, document in data], of_texts=True)
    model = loaded(clip / "prompted")
    found = embed(model, pairs, cache_dir=tmp_path)
    assert found.text is not None
    assert (found.image - unit(model.encode([PROMPTS["query"] + query for query, _ in data]))).abs().max() < 1e-6
    assert (found.text - unit(model.encode_document([document for _, document in data]))).abs().max() < 1e-6
    plain = unit(model.encode([query for query, _ in data]))
    assert (found.image - plain).abs().max() > 1e-3


def test_a_model_of_texts_alone_encodes_no_images(tmp_path: Path) -> None:
    words = modules.StaticEmbedding(_tokenizer(), embedding_weights=torch.eye(4, 3).numpy())
    model = package.SentenceTransformer(modules=[words])
    with pytest.raises(InputError, match="encodes no images, which these data have"):
        embed(model, tiny_pairs(tmp_path / "images", 4), cache_dir=tmp_path / "cache")
    pairs = Pairs("t", "all", [Pair(text, TextQuery(text), (text,)) for text in ("a", "b", "c")], of_texts=True)
    found = embed(model, pairs, cache_dir=tmp_path / "cache")
    assert found.logit_scale_source == "assumed"
    assert torch.equal(found.image, torch.eye(3))


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "?": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


# ------------------------------------------------------------------------------------------------------ names and cache


def test_a_folder_is_known_by_its_files_and_an_object_by_a_name_alone(clip: Path, tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 6)
    found = embed(f"st:{clip / 'st'}", pairs, cache_dir=tmp_path / "cache")
    embed(f"st:{clip / 'st'}", pairs, cache_dir=tmp_path / "cache")
    stores = list((tmp_path / "cache" / "embeddings").iterdir())
    assert len([each for each in stores if each.is_dir()]) == 1
    assert found.made_from["encoder_name"] == found.made_from["weights_sha256"]
    assert (found.made_from["precision"], found.made_from["model"]) == ("fp32", "st:st")
    embed(loaded(clip / "st"), pairs, cache_dir=tmp_path / "none")
    assert not (tmp_path / "none" / "embeddings").exists()


def test_another_file_of_a_folder_makes_another_digest_but_its_card_does_not(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(clip / "st", copy)
    before = sentence._digest(copy)
    (copy / "README.md").write_text("another card")
    assert sentence._digest(copy) == before == sentence._digest(clip / "st")
    settings = json.loads((copy / "processor_config.json").read_bytes())
    settings["image_processor"]["image_mean"] = [0.1, 0.2, 0.3]
    (copy / "processor_config.json").write_text(json.dumps(settings))
    assert sentence._digest(copy) != before


@pytest.mark.parametrize(
    "name", ["st:clip-tiny", "st:sentence-transformers/clip-tiny", "sentence-transformers/clip-tiny"]
)
def test_a_name_on_the_hub_is_taken_from_its_cache(clip: Path, tmp_path: Path, name: str) -> None:
    snapshot = tmp_path / "weights" / "models--sentence-transformers--clip-tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(clip / "st", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    assert is_custom(name)
    assert encoder_of(name, cache_dir=tmp_path).logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_a_name_that_is_not_here_says_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    with pytest.raises(NotAvailableError, match=r"st:clip-tiny: modules\.json is not on this machine .* place it at "):
        encoder_of("st:clip-tiny", cache_dir=tmp_path)


# ---------------------------------------------------------------------------------------------------- what is refused


def spoilt(clip: Path, folder: Path, name: str, change: Any) -> str:
    shutil.copytree(clip / "st", folder)
    content = json.loads((folder / name).read_bytes())
    (folder / name).write_text(json.dumps(change(content)))
    return f"st:{folder}"


def with_class(name: str) -> Any:
    return lambda entries: [{**entry, "type": name} for entry in entries]


@pytest.mark.parametrize("name", ["os.system", "custom.Module", "sentence_transformersx.models.Pooling", 3, None])
def test_a_module_that_is_not_of_the_package_is_refused_unread(clip: Path, tmp_path: Path, name: Any) -> None:
    model = spoilt(clip, tmp_path / "evil", "modules.json", with_class(name))
    (tmp_path / "evil" / "custom.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(InputError, match="is not of sentence-transformers: refused, code that comes with a model"):
        encoder_of(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_settings_that_ask_for_code_are_refused(clip: Path, tmp_path: Path, name: str) -> None:
    change = lambda content: {**content, "auto_map": {"AutoModel": "evil.Model"}}  # noqa: E731
    with pytest.raises(InputError, match=rf"{name}: asks to run code of its own \(auto_map\): refused"):
        encoder_of(spoilt(clip, tmp_path / "evil", name, change))


def test_a_folder_that_asks_for_too_much_is_refused_unread(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"num_hidden_layers": 10**6}
    model = spoilt(clip, tmp_path / "st", "config.json", lambda found: {**found, "text_config": more})
    with pytest.raises(InputError, match=r"config\.json: num_hidden_layers: 1000000 layers of a tower, more than 512"):
        encoder_of(model)
    monkeypatch.setenv("GEOMCLIP_LIMITS", "tokenizer-bytes=9")
    with pytest.raises(InputError, match="bytes of a file of a tokenizer, more than 9: refused"):
        encoder_of(f"st:{clip / 'st'}")


def test_a_router_that_names_foreign_classes_is_refused(clip: Path, tmp_path: Path) -> None:
    model = spoilt(clip, tmp_path / "evil", "modules.json", lambda content: content)
    (tmp_path / "evil" / "router_config.json").write_text(json.dumps({"types": {"a": "os.system"}}))
    with pytest.raises(InputError, match=r"of the class 'os.system', which is not of sentence-transformers"):
        encoder_of(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "modules.json: is no JSON"), ("{}", "is no list of modules"), ("[3]", "of the class")],
)
def test_a_list_of_modules_that_is_none_is_refused(clip: Path, tmp_path: Path, content: str, message: str) -> None:
    shutil.copytree(clip / "st", tmp_path / "st")
    (tmp_path / "st" / "modules.json").write_text(content)
    with pytest.raises(InputError, match=message):
        encoder_of(f"st:{tmp_path / 'st'}")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("st:{empty}", "the folder has no modules.json: sentence-transformers did not write it"),
        ("st:./absent", "st:./absent: no such folder"),
        ("st:a/b/c", "st:a/b/c: no such folder"),
        ("st:", "no such folder"),
    ],
)
def test_what_is_no_such_model_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_pairs(tmp_path / "pictures", 4)
    (tmp_path / "empty").mkdir()
    done = run_cli(capsys, "measure", "--model", model.format(empty="empty"), "--data", "folder:pictures")
    assert_one_line(done, 2, message)


def test_the_precision_of_its_weights_cannot_be_chosen(clip: Path) -> None:
    with pytest.raises(
        InputError, match=r"precision='bf16' has no meaning for st:.*: leave it out, its files say that"
    ):
        encoder_of(f"st:{clip / 'st'}", precision="bf16")


def test_an_older_release_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "_version", lambda: "5.4.1")
    with pytest.raises(
        NotAvailableError, match=r"sentence-transformers 5\.4\.1 runs code that lies in a model's folder"
    ):
        encoder_of(f"st:{clip / 'st'}")


def test_weights_that_cannot_be_read_are_refused_in_one_line(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip / "st", tmp_path / "st")
    (tmp_path / "st" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="sentence_transformers cannot use it: SafetensorError: ") as refused:
        encoder_of(f"st:{tmp_path / 'st'}")
    assert "\n" not in str(refused.value)


def test_measure_and_compare_take_its_name(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", f"folder:{folder_of_pairs(tmp_path / 'pictures', 8)}", "--cache-dir", tmp_path / "cache")
    done = run_cli(capsys, "measure", "--model", f"st:{clip / 'st'}", *data, "--bootstrap", 0, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["logit_scale_source"] == "model"
    both = run_cli(
        capsys, "compare", f"st:{clip / 'st'}", f"local-dir:{clip / 'tiny'}", *data, "--bootstrap", 0, "--quiet"
    )
    assert both.code == 0, both.err
    store = run_cli(capsys, "extract", "--model", f"st:{clip / 'st'}", *data, "--out", tmp_path / "store")
    assert store.code == 0, store.err
