"""Names and configurations of transformers: equal rows in open_clip, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import TEXT, VISION, hf_inputs, hf_model, hf_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from geomclip.encoders import towers
from geomclip.encoders.hf import config
from geomclip.encoders.hf.names import Renamed, shapes_in
from geomclip.machine.errors import InputError

KINDS = ("clip", "siglip", "siglip2")
CLOSE = 1e-5  # float32, other kernels in another order


def described(model: torch.nn.Module, folder: Path) -> config.Description:
    """The configuration that transformers writes of a model, as it is read here."""
    model.config.architectures = [type(model).__name__]  # save_pretrained of the model writes it
    model.config.save_pretrained(folder)
    return config.read(folder / config.FILE)


def rows_here(model: torch.nn.Module, folder: Path, pixels: torch.Tensor, tokens: torch.Tensor) -> list[torch.Tensor]:
    """Rows of images and texts of the towers of open_clip with the weights of a model of transformers."""
    found = described(model, folder)
    module = towers.build(found.model_cfg, {}, seed=1, where=str(folder))
    module.load_state_dict(dict(Renamed(model.state_dict(), found.rows, to="open_clip")), strict=True)
    with torch.inference_mode():
        return [module.encode_image(pixels), module.encode_text(tokens)]  # type: ignore[operator]


def assert_equal_rows(model: torch.nn.Module, folder: Path) -> None:
    pixels, tokens = hf_inputs(model)
    for ours, theirs in zip(rows_here(model, folder, pixels, tokens), hf_rows(model, pixels, tokens), strict=True):
        assert float(theirs.norm(dim=1).min()) > 0.01
        assert float((ours - theirs).abs().max()) < CLOSE * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_transformers(kind, tmp_path):
    assert_equal_rows(hf_model(kind), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_names_every_weight_and_leads_back(kind, tmp_path):
    model = hf_model(kind)
    found, state = described(model, tmp_path), model.state_dict()
    ours = Renamed(state, found.rows, to="open_clip")
    module = towers.build(found.model_cfg, {}, seed=0, where=kind)
    assert {name: tuple(v.shape) for name, v in ours.items()} == {
        n: tuple(v.shape) for n, v in module.state_dict().items()
    }
    back = Renamed(dict(ours), found.rows, to="transformers")
    assert set(back) == set(state)
    assert all(torch.equal(back[name], value) for name, value in state.items())
    assert shapes_in(found.rows, {n: v.shape for n, v in ours.items()}, to="transformers") == {
        name: tuple(value.shape) for name, value in state.items()
    }


def sizes(width: int, ratio: int, layers: int, heads: int, eps: float, activation: str) -> dict[str, Any]:
    return {
        **{"hidden_size": width * heads, "intermediate_size": ratio, "num_hidden_layers": layers},
        **{"num_attention_heads": heads, "layer_norm_eps": eps, "hidden_act": activation},
    }


tower = st.builds(
    sizes,
    st.integers(2, 10),
    st.integers(5, 90),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([1e-6, 1e-5, 1e-3]),
    st.sampled_from(["gelu", "gelu_pytorch_tanh", "gelu_new"]),
)


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), vision=tower, text=tower, patch=st.sampled_from([4, 8]), more=st.data())
def test_any_sizes_of_transformers_give_its_rows(kind, vision, text, patch, more, tmp_path_factory):
    text |= {"max_position_embeddings": more.draw(st.integers(4, 12)), "vocab_size": more.draw(st.integers(60, 120))}
    options: dict[str, Any] = {}
    if kind == "clip":
        options["projection_dim"] = more.draw(st.integers(1, 20))
        text["eos_token_id"] = more.draw(st.sampled_from([2, 50, text["vocab_size"] - 1]))
        if more.draw(st.booleans()):
            vision["hidden_act"] = text["hidden_act"] = "quick_gelu"
    vision |= {"patch_size": patch}
    vision |= (
        {"num_patches": more.draw(st.sampled_from([4, 9]))} if kind == "siglip2" else {"image_size": 3 * patch + 1}
    )
    assert_equal_rows(hf_model(kind, vision=vision, text=text, **options), tmp_path_factory.mktemp("drawn"))


def test_texts_are_pooled_at_the_first_end_token_or_where_files_before_4_31_say_2_at_the_largest(tmp_path):
    for end in (2, 50, 99):
        model = hf_model("clip", text={"eos_token_id": end})
        pixels, tokens = hf_inputs(model)
        tokens[:, 4], tokens[:, 6], tokens[:, 8:] = 50, 99, 7  # ends, and what may be taken for one
        ours = rows_here(model, tmp_path, pixels, tokens)[1]
        assert float((ours - hf_rows(model, pixels, tokens)[1]).abs().max()) < CLOSE


def test_a_configuration_of_openai_is_the_twin_of_open_clip(tmp_path):
    from geomclip.encoders.configuration import complete

    for arch, patch in (("ViT-B-32-quickgelu", 32), ("ViT-B-16-quickgelu", 16)):
        written = {
            "model_type": "clip",
            "projection_dim": 512,
            "vision_config": {"patch_size": patch},
            "text_config": {},
        }
        (tmp_path / "config.json").write_text(json.dumps(written))
        found = config.read(tmp_path / "config.json")
        assert complete(found.model_cfg) == complete(towers.architecture_config(arch))


def read(tmp_path: Path, **content: Any) -> config.Description:
    plain = {"model_type": "clip", "projection_dim": 16, "vision_config": VISION, "text_config": TEXT}
    (tmp_path / "config.json").write_text(json.dumps(plain | content))
    return config.read(tmp_path / "config.json")


def test_older_files_with_a_second_part_of_the_text_tower_are_read(tmp_path):
    assert read(tmp_path, text_config_dict={"vocab_size": 77}).model_cfg["text_cfg"]["vocab_size"] == 77


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model_type": "blip"}, "is a model of type 'blip', which no model of open_clip is equal to .nearest: CLIP"),
        (
            {"model_type": "chinese_clip", "architectures": ["ChineseCLIPModel"]},
            "is a ChineseCLIPModel, which no model",
        ),
        ({"model_type": "clip_text_model"}, "one tower alone: .* need the whole CLIPModel"),
        ({"architectures": ["CLIPVisionModelWithProjection"]}, "CLIPVisionModelWithProjection, one tower alone"),
        ({"architectures": ["CLIPForImageClassification"]}, "CLIPForImageClassification, .* give the CLIPModel"),
        ({"auto_map": {"AutoModel": "own.Model"}}, "asks to run code of its own .auto_map."),
        ({"vision_config": {**VISION, "hidden_act": "relu"}}, "vision_config has the activation 'relu'"),
        ({"text_config": {**TEXT, "hidden_act": "gelu"}}, "either both towers have quick_gelu or none"),
        ({"text_config": {**TEXT, "num_attention_heads": 5}}, "5 attention heads, which do not divide its width 24"),
        (
            {"vision_config": {**VISION, "num_hidden_layers": 10**7}},
            "vision_config: num_hidden_layers: 10000000 layers of a tower, more than 512: refused",
        ),
        ({"vision_config": {**VISION, "num_channels": 4}}, "4 channels"),
        ({"vision_config": 3}, "'vision_config' is no object"),
        ({"text_config": {**TEXT, "eos_token_id": [1, 2]}}, "no one token that ends a text"),
        ({"projection_dim": "16"}, "no sound 'projection_dim'"),
        ({"text_config": {**TEXT, "layer_norm_eps": -1}}, "no sound 'layer_norm_eps'"),
        ({"model_type": "siglip"}, "rows of texts have 24 dimensions and those of images 32"),
        ({"model_type": "siglip", "vision_config": {**VISION, "vision_use_head": False}}, "no pooling"),
        (
            {"model_type": "siglip2", "vision_config": {**VISION, "hidden_size": 24, "num_patches": 7}},
            "7 patches make no",
        ),
    ],
)
def test_a_configuration_that_open_clip_cannot_be_equal_to_is_refused_by_name(content, expected, tmp_path):
    with pytest.raises(InputError, match=expected) as caught:
        read(tmp_path, **content)
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
    assert "\n" not in str(caught.value)


LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
FULL: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "ViT-B/32": ("clip", {**LARGE, "patch_size": 32}, {}, 512),
    "ViT-L/14": (
        "clip",
        {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "patch_size": 14}
        | {"num_hidden_layers": 24},
        LARGE,
        768,
    ),
    "SigLIP-B/16": ("siglip", LARGE, LARGE, 768),
    "SigLIP 2 B/16": ("siglip", LARGE, {**LARGE, "vocab_size": 256000}, 768),
    "SigLIP 2 B/16, NaFlex": ("siglip2", LARGE, {**LARGE, "vocab_size": 256000}, 768),
}
USUAL_TEXT = {
    "clip": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408}
    | {"num_hidden_layers": 12, "max_position_embeddings": 77, "eos_token_id": 49407},
    "siglip": {"num_hidden_layers": 12, "max_position_embeddings": 64, "vocab_size": 32000},
}


@pytest.mark.slow  # up to two minutes and 6 GB each
@pytest.mark.parametrize("name", FULL)
def test_full_size_configurations_give_the_rows_of_transformers(name, tmp_path):
    kind, vision, text, dim = FULL[name]
    vision = {"num_hidden_layers": 12, "patch_size": 16, **vision}
    vision |= {"num_patches": 196} if kind == "siglip2" else {"image_size": 224}
    text = USUAL_TEXT["clip" if kind == "clip" else "siglip"] | text
    more = {"projection_dim": dim} if kind == "clip" else {}
    model = full(kind, vision, text, more)
    pixels, tokens = hf_inputs(model, size=2)
    found = rows_here(model, tmp_path, pixels, tokens)
    for ours, theirs in zip(found, hf_rows(model, pixels, tokens), strict=True):
        ours, theirs = (torch.nn.functional.normalize(rows, dim=1) for rows in (ours, theirs))
        assert ours.shape == (2, dim)
        assert float((ours - theirs).abs().max()) < CLOSE


def full(kind: str, vision: dict[str, Any], text: dict[str, Any], more: dict[str, Any]) -> torch.nn.Module:
    """A model of transformers with the weights that it draws itself, of these sizes."""
    import transformers

    classes = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}
    settings = getattr(transformers, f"{classes[kind]}Config")(vision_config=vision, text_config=text, **more)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{classes[kind]}Model")(settings).eval()
