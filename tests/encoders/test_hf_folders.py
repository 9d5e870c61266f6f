"""Folders of transformers as people have them: read, encoded as transformers does, or refused in one line."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import SIDE, hf_folder, hf_inputs, hf_model, hf_refusal, hf_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import forget_architectures, tiny_architectures, tiny_model

from geomclip.encoders import how_to_load, load_encoder, remembered, towers
from geomclip.encoders.export import export
from geomclip.machine.errors import InputError, NotAvailableError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

CLOSE = 1e-5
TEXTS = ["a b c", "", "red", "zz top and some more words than the twelve places of a tiny text tower"]


def assert_same(encoder, model: torch.nn.Module) -> None:
    pixels, tokens = hf_inputs(model)
    for ours, theirs in zip(
        (encoder.encode_image(pixels), encoder.encode_text(tokens)), hf_rows(model, pixels, tokens), strict=True
    ):
        assert float((ours - theirs).abs().max()) < CLOSE


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_a_folder_of_save_pretrained_gives_the_rows_of_transformers(kind, tmp_path):
    folder, model = hf_folder(tmp_path / "model", kind)
    encoder = load_encoder(str(folder))
    assert_same(encoder, model)
    assert encoder.logit_scale == pytest.approx(4.4817, abs=1e-4)
    assert (encoder.logit_bias is None) == (kind == "clip")
    assert encoder.arch == "custom"


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_are_tokenised_and_encoded_as_the_tokenizer_of_the_folder_does(kind, tmp_path):
    folder, model = hf_folder(tmp_path / "model", kind)
    encoder = load_encoder(str(folder))
    own = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if kind == "clip" or text]
    theirs = own(texts, padding="max_length", truncation=True, max_length=12, return_tensors="pt").input_ids
    tokens, cut = encoder.tokenize(texts)
    assert torch.equal(tokens, theirs)
    assert cut.tolist()[-1] is True
    rows = hf_rows(model, hf_inputs(model)[0], theirs)[1]
    assert float((encoder.encode_text(tokens) - rows).abs().max()) < CLOSE


def test_images_are_prepared_as_the_image_processor_of_the_folder_does(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    theirs = transformers.CLIPImageProcessor.from_pretrained(folder)
    if hasattr(transformers, "CLIPImageProcessorPil"):
        theirs = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    noise = torch.randint(0, 255, (40, 50, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(noise.numpy())
    ours = load_encoder(str(folder)).preprocess()(image)
    assert float((ours - theirs(image, return_tensors="pt").pixel_values[0]).abs().max()) < CLOSE


def test_what_transformers_5_writes_of_a_processor_is_read(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    before = load_encoder(str(folder)).preprocessing
    inside = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": inside, "processor_class": "X"}))
    assert load_encoder(str(folder)).preprocessing == before


def test_a_folder_with_weights_and_configuration_alone_says_what_is_assumed(tmp_path):
    hf_model("clip", text={"vocab_size": 49408, "eos_token_id": 49407}).save_pretrained(tmp_path / "checkpoint-500")
    encoder = load_encoder(str(tmp_path / "checkpoint-500"))
    assert any("no preprocessor_config.json" in note for note in encoder.notes)
    assert any("OpenAI's is taken" in note for note in encoder.notes)
    assert encoder.preprocessing["size"] == [SIDE, SIDE]
    assert encoder.tokenize(["a dog"])[0][0, :4].tolist() == [49406, 320, 1929, 49407]
    hf_model("siglip").save_pretrained(tmp_path / "siglip")
    assert "processor.save_pretrained" in hf_refusal(tmp_path / "siglip")


def test_an_export_to_transformers_comes_back_with_the_same_weights(tmp_path):
    for name, more in {"plain": {}, "quick": {"quick_gelu": True}, "text": {"custom_text": True}}.items():
        source = tiny_model(tmp_path / name, **more)
        export(str(source), "hf", tmp_path / f"{name}-hf")
        before, after = load_encoder(str(source)), load_encoder(str(tmp_path / f"{name}-hf"))
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        tokens = before.tokenize(TEXTS)[0]
        assert torch.equal(after.tokenize(TEXTS)[0], tokens)
        assert torch.equal(after.encode_image(pixels), before.encode_image(pixels))
        assert torch.equal(after.encode_text(tokens), before.encode_text(tokens))
        assert after.preprocessing == before.preprocessing


@pytest.fixture
def tiny_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    yield
    monkeypatch.undo()
    forget_architectures(towers)


@pytest.mark.usefixtures("tiny_known")
def test_a_file_is_read_by_the_configuration_beside_it_or_by_a_named_architecture(tmp_path):
    source = tiny_model(tmp_path / "own")
    export(str(source), "hf", tmp_path / "hf")
    wanted = load_encoder(str(source)).weights_sha256
    beside = load_encoder(str(tmp_path / "hf" / "model.safetensors"))
    assert (beside.weights_sha256, beside.arch) == (wanted, "Lone")
    alone = shutil.copy(tmp_path / "hf" / "model.safetensors", tmp_path / "alone.safetensors")
    named = load_encoder(str(alone), arch="Lone")
    assert named.weights_sha256 == wanted
    # the one reads texts as its folder's tokenizer does, the other as open_clip's
    assert beside.model_cfg["text_cfg"].pop("tokenizer_kwargs") == {"clean": "none"}  # type: ignore[attr-defined]
    assert named.fingerprint() == beside.fingerprint()
    message = hf_refusal(alone)
    assert "does not say its architecture: give it with arch, or keep" in message
    assert "keep the config.json of transformers beside it" in message


def test_a_model_of_sentence_transformers_is_read_from_its_part(tmp_path):
    inside, model = hf_folder(tmp_path / "model" / "0_CLIPModel")
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    assert_same(load_encoder(str(tmp_path / "model")), model)
    normal = {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}
    (tmp_path / "model" / "modules.json").write_text(json.dumps([*modules, normal]))
    assert_same(load_encoder(str(tmp_path / "model")), model)
    dense = {"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"}
    (tmp_path / "model" / "modules.json").write_text(json.dumps([*modules, dense]))
    message = hf_refusal(tmp_path / "model")
    assert "several parts (CLIPModel, Dense), whose rows no model of open_clip has" in message
    assert f"st:{tmp_path / 'model'} gives them" in message
    assert message.endswith(f"the weights of the first alone are {inside}")
    (tmp_path / "model" / "modules.json").write_text(json.dumps([{"path": "..", "type": "x"}]))
    assert "has no open_clip_config.json and no config.json" in hf_refusal(tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("{}")
    assert "has no open_clip_config.json and no config.json" in hf_refusal(tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("[3]")
    assert "is no list of parts" in hf_refusal(tmp_path / "model")


@pytest.mark.parametrize("name", ["image_mean", "rescale_factor"])
def test_a_number_of_preprocessing_that_no_float_holds_is_refused(tmp_path, name):
    folder, _ = hf_folder(tmp_path / "model")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: [10**400] * 3 if "mean" in name else 10**400}))
    message = hf_refusal(folder)
    assert name in message
    assert len(message) < 600


def test_names_that_a_trainer_put_something_before_are_read_and_it_is_told(tmp_path):
    folder, model = hf_folder(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    for number in range(2):  # buffers of transformers before 4.31
        tower = ("vision_model", "text_model")[number]
        state[f"{tower}.embeddings.position_ids"] = torch.arange(12)[None]
    save_file({f"model.{name}": value for name, value in state.items()}, folder / "model.safetensors")
    encoder = load_encoder(str(folder))
    assert_same(encoder, model)
    assert any("'model.'" in note for note in encoder.notes)


def test_half_precision_is_widened(tmp_path):
    folder, model = hf_folder(tmp_path / "model")
    state = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in state.items()})
    assert_same(load_encoder(str(folder)), model)


def test_weights_of_another_size_are_named_up_to_five(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    other = hf_model("clip", vision={"hidden_size": 16}, text={"num_hidden_layers": 1})
    save_file(other.state_dict(), folder / "model.safetensors")
    message = hf_refusal(folder)
    assert (
        f"model.safetensors: has the layout of transformers, and does not fit the configuration of {folder}: "
        in message
    )
    assert "visual_projection.weight is (16, 16) in the file, (16, 32) in it" in message
    assert re.search(r"; and \d+ more$", message)
    assert message.count(" in the file, ") <= 5


def test_a_folder_is_refused_with_what_is_wrong(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    written = json.loads((folder / "config.json").read_text())

    def broken(name: str, content: Any) -> str:
        copy = shutil.copytree(folder, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}")
        (copy / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return hf_refusal(copy)

    assert "asks to run code of its own (auto_map)" in broken(
        "config.json", written | {"auto_map": {"AutoModel": "a.B"}}
    )
    assert "is no JSON" in broken("config.json", "{")
    images = json.loads((folder / "preprocessor_config.json").read_text())
    name = "preprocessor_config.json"
    assert "and its model takes 32" in broken(name, images | {"crop_size": {"height": 24, "width": 24}})
    assert "filter 0: open_clip has 2 (bilinear), 3 (bicubic)" in broken(name, images | {"resample": 0})
    assert "rescale_factor 1" in broken(name, images | {"rescale_factor": 1})
    assert "no sound 'image_mean'" in broken(name, images | {"image_mean": [0.5]})
    words = json.loads((folder / "tokenizer.json").read_text())
    words["added_tokens"].append({"id": 100, "content": "<new>"})
    assert "has the token 100, and the text tower has 100" in broken("tokenizer.json", words)
    coded = {"auto_map": {"AutoTokenizer": ["own.Words", None]}}
    assert "tokenizer_config.json: asks to run code" in broken("tokenizer_config.json", coded)
    assert "padding_side left" in broken("tokenizer_config.json", {"padding_side": "left"})
    shutil.move(folder / "model.safetensors", tmp_path / "elsewhere.safetensors")
    assert "has no model.safetensors" in hf_refusal(folder, NotAvailableError)
    assert (
        load_encoder(str(folder), pretrained=str(tmp_path / "elsewhere.safetensors")).pretrained
        == "elsewhere.safetensors"
    )
    assert load_encoder(str(folder), pretrained="random").pretrained == "random"


def test_transformers_is_asked_for_no_code_of_a_folder(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OwnTokenizer"}))
    assert "only code of the model's own could bring it" in hf_refusal(folder)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_siglip_goes_back_to_transformers_and_not_to_open_clip(kind, tmp_path):
    folder, model = hf_folder(tmp_path / "model", kind, vision={"layer_norm_eps": 1e-4, "hidden_act": "gelu"})
    line = export(str(folder), "hf", tmp_path / "back")
    assert line == f"transformers.SiglipModel.from_pretrained({str(tmp_path / 'back')!r})"
    back = transformers.SiglipModel.from_pretrained(tmp_path / "back").eval()
    pixels, tokens = hf_inputs(model)
    for there, here in zip(hf_rows(back, pixels, tokens), hf_rows(model, pixels, tokens), strict=True):
        assert float((there - here).abs().max()) < CLOSE
    again = load_encoder(str(tmp_path / "back"))
    assert torch.equal(again.tokenize(["a b"])[0], load_encoder(str(folder)).tokenize(["a b"])[0])
    assert again.weights_sha256 == load_encoder(str(folder)).weights_sha256
    assert (
        how_to_load(again, Path("x.safetensors"))
        == "for transformers: geomclip export x.safetensors --to hf --out FOLDER"
    )
    with pytest.raises(InputError, match="to which open_clip has no name: use to='hf'"):
        export(str(folder), "openclip", tmp_path / "other")


sizes = st.fixed_dictionaries(
    {
        "hidden_size": st.sampled_from([8, 16, 24]),
        "intermediate_size": st.integers(5, 60),
        "num_hidden_layers": st.integers(1, 2),
        "num_attention_heads": st.sampled_from([1, 2, 4]),
        "layer_norm_eps": st.sampled_from([1e-6, 1e-5, 1e-3]),
    }
)


@settings(max_examples=8, deadline=None)
@given(vision=sizes, text=sizes, quick=st.booleans(), dim=st.integers(1, 20))
def test_any_model_of_transformers_comes_back_through_an_export(vision, text, quick, dim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    activation = {"hidden_act": "quick_gelu" if quick else "gelu"}
    text = {**text, **activation, "vocab_size": 49408, "eos_token_id": 49407}
    model = hf_model("clip", vision={**vision, **activation}, text=text, projection_dim=dim)
    model.save_pretrained(folder / "there")
    export(str(folder / "there"), "hf", folder / "back")
    back = transformers.CLIPModel.from_pretrained(folder / "back").eval()
    state = back.state_dict()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    pixels, tokens = hf_inputs(model)
    for there, here in zip(hf_rows(back, pixels, tokens), hf_rows(model, pixels, tokens), strict=True):
        assert torch.equal(there, here)


def test_a_vocabulary_that_is_nearly_that_of_openai_is_used_as_it_is(tmp_path):
    export(str(tiny_model(tmp_path / "own")), "hf", tmp_path / "hf")
    file = tmp_path / "hf" / "vocab.json"
    words = json.loads(file.read_text())
    words["dog</w>"], words["cat</w>"] = words["cat</w>"], words["dog</w>"]
    file.write_text(json.dumps(words))
    tokens = load_encoder(str(tmp_path / "hf")).tokenize(["a dog"])[0]
    own = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokens[0, :4].tolist() == own("a dog").input_ids == [49406, 320, words["dog</w>"], 49407]
    assert words["dog</w>"] != load_encoder(str(tmp_path / "own")).tokenize(["a dog"])[0][0, 2]


def test_another_tokenizer_is_another_encoder(tmp_path):
    folder, _ = hf_folder(tmp_path / "model")
    before = load_encoder(str(folder)).fingerprint()
    assert load_encoder(str(folder)).fingerprint() == before
    words = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(
        words.replace('"a</w>": 26', '"a</w>": 27').replace('"b</w>": 27', '"b</w>": 26')
    )
    assert load_encoder(str(folder)).fingerprint() != before


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_file_is_loaded_anew_when_what_lies_beside_it_changed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", -3600.0)  # files of this second are believed
    folder, _ = hf_folder(tmp_path / "model")
    file = str(folder / "model.safetensors")
    remembered.remembered(file, cache_dir=tmp_path)
    before = remembered.remembered(file, cache_dir=tmp_path)
    assert isinstance(before, remembered.RememberedEncoder)
    text = (folder / name).read_text()
    changed = {"config.json": ("quick_gelu", "gelu"), "preprocessor_config.json": ("0.4", "0.45")}
    changed["tokenizer.json"] = ('"Lowercase"', '"NFKC"')
    (folder / name).write_text(text.replace(*changed[name]))
    after = remembered.remembered(file, cache_dir=tmp_path)
    assert not isinstance(after, remembered.RememberedEncoder)
    assert after.made_from()["fingerprint"] != before.made_from()["fingerprint"]


def test_shards_of_transformers_are_read_by_their_index(tmp_path):
    folder, model = hf_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert_same(load_encoder(str(folder)), model)
    assert_same(load_encoder(str(folder / "model.safetensors.index.json")), model)
    next(iter(sorted(folder.glob("model-*.safetensors")))).unlink()
    assert "shards are not beside it: model-00001-of" in hf_refusal(folder, NotAvailableError)


def test_a_scale_that_overflows_is_named_and_got_past(tmp_path):
    folder, model = hf_folder(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    save_file({**state, "logit_scale": torch.tensor(100.0)}, folder / "model.safetensors")
    assert "logit_scale" in hf_refusal(folder)
    encoder = load_encoder(str(folder), logit_scale=100.0)
    assert encoder.logit_scale == pytest.approx(100.0)
    assert_same(encoder, model)


def test_nothing_is_remarked_on_a_configuration_with_the_defaults_of_transformers(tmp_path):
    folder, _ = hf_folder(tmp_path / "siglip", "siglip")  # whose default bos_token_id is beyond its vocabulary
    pytest.importorskip("transformers.utils.logging").warning_once.cache_clear()  # which says each thing once
    remarks: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: remarks.append(record.getMessage())  # type: ignore[method-assign]
    theirs = logging.getLogger("transformers")
    level = theirs.level
    theirs.addHandler(handler)
    try:
        load_encoder(str(folder))
    finally:
        theirs.removeHandler(handler)
    assert remarks == []
    assert theirs.level == level


ODD = [
    *("a cat", "a  cat\t on\n mat", " ", "", "Tom &amp; Jerry &lt;3", "it&quot;s", "\u201cit\u2019s\u201d a cat\u2026"),
    *(
        "a<|endoftext|>b",
        "a <|startoftext|> b",
        "<end_of_text> x",
        "\ufb01ne caf\u00e9",
        "na\u00c3\u00afve",
        "a\u3000b",
    ),
    *("\u039f\u0394\u039f\u03a3", "\u0130stanbul", "a\x1fb", "I'M here", "12345 cats!!", "\U0001f600", "word " * 40),
    *("a  b  " * 400, " " * 4000 + "word"),
]


def assert_same_texts(folder: Path, end: int) -> None:
    """Odd texts have the tokens of transformers, up to what fills them up behind the end."""
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder)
    encoder = load_encoder(str(folder))
    length = encoder.context_length
    wanted = theirs(ODD, padding="max_length", truncation=True, max_length=length, return_tensors="pt")["input_ids"]
    for text, ours, row in zip(ODD, encoder.tokenize(ODD)[0].tolist(), wanted.tolist(), strict=True):
        until = row.index(end) + 1 if end in row else length
        assert ours[:until] == row[:until], text


def test_odd_texts_have_the_tokens_of_transformers_in_a_folder_with_openais_tokenizer(tmp_path):
    export(str(tiny_model(tmp_path / "own")), "hf", tmp_path / "hf")
    assert_same_texts(tmp_path / "hf", 49407)
    encoder = load_encoder(str(tmp_path / "hf"))
    cut = encoder.tokenize(["word " * 10, "word " * 11, "a<|endoftext|>b", "a<|endoftext|>"])[1]
    assert cut.tolist() == [False, True, True, False]


@pytest.mark.parametrize(("kind", "end"), [("clip", 99), ("siglip", 2)])
def test_odd_texts_have_the_tokens_of_transformers_in_a_folder_with_its_own_tokenizer(kind, end, tmp_path):
    assert_same_texts(hf_folder(tmp_path / "hf", kind)[0], end)


def test_without_transformers_texts_are_cleaned_as_open_clip_does_and_a_note_says_so(tmp_path, monkeypatch):
    source = tiny_model(tmp_path / "own")
    export(str(source), "hf", tmp_path / "hf")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name))
    encoder = load_encoder(str(tmp_path / "hf"))
    assert any("transformers, which cleans none, is not installed" in note for note in encoder.notes)
    assert torch.equal(encoder.tokenize(ODD)[0], load_encoder(str(source)).tokenize(ODD)[0])


def test_an_export_to_open_clip_asks_for_no_cleaning_that_it_has_not(tmp_path):
    import open_clip

    export(str(tiny_model(tmp_path / "own")), "hf", tmp_path / "hf")
    export(str(tmp_path / "hf"), "openclip", tmp_path / "back")
    assert (
        "tokenizer_kwargs"
        not in json.loads((tmp_path / "back" / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    )
    assert open_clip.get_tokenizer(f"local-dir:{tmp_path / 'back'}")(["a dog"])[0, :3].tolist() == [49406, 320, 1929]
    export(str(hf_folder(tmp_path / "letters")[0]), "openclip", tmp_path / "own-words")
    text = json.loads((tmp_path / "own-words" / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert "tokenizer_kwargs" not in text


ODD_VALUES = {
    "a list for a kind": ("config.json", {"model_type": ["clip"]}, "says no 'model_type'"),
    "a list of a thousand channels": (
        "config.json",
        {"vision_config": {"num_channels": [3] * 1000}},
        r"its images have \[3",
    ),
    "an object for a filter": ("preprocessor_config.json", {"resample": {}}, "resizes with PIL's filter"),
    "a number for tokens": ("tokenizer.json", {"added_tokens": 5}, "its tokenizer"),
    "a list for a token": ("tokenizer.json", {"added_tokens": [{"content": [], "id": 1}]}, "its tokenizer"),
    "numbers for byte pairs": (
        "tokenizer.json",
        {"model": {"type": "BPE", "vocab": {}, "merges": [5]}},
        "its tokenizer",
    ),
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_a_value_of_another_type_is_refused_in_one_line(name, tmp_path):
    file, change, why = ODD_VALUES[name]
    folder, _ = hf_folder(tmp_path / "model")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **change}))
    assert re.search(why, said := hf_refusal(folder)), said
    assert len(said) < 400
