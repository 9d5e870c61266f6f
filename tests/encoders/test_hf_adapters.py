"""Adapters of PEFT: merged once, onto the base they are of, or refused in one line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import drawn, hf_folder, hf_inputs, hf_model, hf_refusal, hf_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from geomclip.encoders import load_encoder
from geomclip.encoders.hf import adapters
from geomclip.machine.errors import InputError, NotAvailableError

peft = pytest.importorskip("peft", reason="peft is not installed")
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
    ),  # peft with transformers 5
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),  # which remarks on embeddings and on models without a name
]

CLOSE = 1e-5
ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


def adapter_folder(folder: Path, module: torch.nn.Module, base: Path | str, *, seed: int = 5, **options: Any) -> Any:
    """An adapter with every update drawn, saved by PEFT; the module that it was saved from."""
    made = peft.get_peft_model(module, peft.LoraConfig(r=options.pop("r", 3), **options))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name or parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw) + ("magnitude" in name))
    made.save_pretrained(folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(base)}))
    return made.eval()


def assert_rows_of(made: Any, folder: Path, **options: Any) -> None:
    """geomclip's rows of an adapter's folder are those of PEFT's own forward."""
    assert_rows_of_model(made.get_base_model(), folder, **options)


def assert_rows_of_model(model: Any, folder: Path, **options: Any) -> None:
    """geomclip's rows of a folder are those of a model of transformers."""
    pixels, tokens = hf_inputs(model)
    encoder = load_encoder(str(folder), **options)
    for ours, theirs in zip(
        (encoder.encode_image(pixels), encoder.encode_text(tokens)), hf_rows(model, pixels, tokens), strict=True
    ):
        assert float((ours - theirs).abs().max()) < CLOSE


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("clip", {"target_modules": ATTENTION, "lora_alpha": 7}),
        ("clip", {"target_modules": ["q_proj", "fc1"], "use_rslora": True, "bias": "lora_only"}),
        ("clip", {"target_modules": ["fc2", "out_proj"], "use_dora": True, "bias": "all"}),
        ("clip", {"target_modules": ["patch_embedding", "token_embedding", "visual_projection", "text_projection"]}),
        ("clip", {"target_modules": ["patch_embedding"], "use_dora": True}),
        ("clip", {"target_modules": ["v_proj"], "modules_to_save": ["visual_projection", "text_projection"]}),
        ("clip", {"target_modules": ["fc1"], "rank_pattern": {"fc1": 2}, "alpha_pattern": {"layers.1.*fc1": 9}}),
        ("clip", {"target_modules": ["fc1"], "lora_bias": True}),
        ("siglip", {"target_modules": r".*(q_proj|v_proj|fc1|text_model\.head)"}),
        ("siglip2", {"target_modules": ["k_proj", "patch_embedding"]}),
    ],
)
def test_an_adapter_of_transformers_gives_the_rows_of_peft(kind, options, tmp_path):
    base, model = hf_folder(tmp_path / "base", kind)
    made = adapter_folder(tmp_path / "adapter", model, base, **options)
    assert_rows_of(made, tmp_path / "adapter")


tower_parts = st.lists(st.sampled_from([*ATTENTION, "fc1", "fc2"]), min_size=1, max_size=6, unique=True)


@settings(max_examples=8, deadline=None)
@given(parts=tower_parts, rank=st.integers(1, 5), alpha=st.integers(1, 20), stable=st.booleans(), dora=st.booleans())
def test_any_adapter_gives_the_rows_of_peft(parts, rank, alpha, stable, dora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    base, model = hf_folder(folder / "base")
    options = {"r": rank, "lora_alpha": alpha, "use_rslora": stable, "use_dora": dora}
    made = adapter_folder(folder / "adapter", model, base, target_modules=parts, **options)
    assert_rows_of(made, folder / "adapter")


def attention64(weights: dict[str, torch.Tensor], x: torch.Tensor, heads: int) -> torch.Tensor:
    """Self-attention in float64, by its definition."""
    joint = x @ weights["in_proj_weight"].T + weights["in_proj_bias"]
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in joint.chunk(3, dim=-1))
    mixed = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
    return mixed.transpose(-2, -3).flatten(-2) @ weights["out_proj.weight"].T + weights["out_proj.bias"]


def test_the_output_projection_of_a_tower_of_open_clip_is_updated_once(tmp_path):
    import open_clip

    base = tiny_model(tmp_path / "base")
    module = drawn(open_clip.create_model(f"local-dir:{base}"))
    save_file(module.state_dict(), base / "open_clip_model.safetensors")
    block = "visual.transformer.resblocks.0.attn"
    before = {name.removeprefix(f"{block}."): v.double() for name, v in module.state_dict().items() if block in name}
    adapter_folder(tmp_path / "adapter", module, base, target_modules=["attn", "c_fc"], lora_alpha=6)
    loaded = load_encoder(str(tmp_path / "adapter")).module.get_submodule(block)

    found = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    for target, name in (("in_proj_weight", f"{block}.lora"), ("out_proj.weight", f"{block}.base_layer.out_proj.lora")):
        first, second = (found[f"base_model.model.{name}_{letter}.weight"].double() for letter in "AB")
        before[target] = before[target] + 6 / 3 * second @ first
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        ours = loaded(x.float(), x.float(), x.float(), need_weights=False)[0]
    assert float((ours.double() - attention64(before, x, 2)).abs().max()) < CLOSE


def test_an_adapter_of_transformers_fits_a_base_in_the_layout_of_open_clip(tmp_path):
    from geomclip.encoders.export import export

    base = tiny_model(tmp_path / "base")
    export(str(base), "hf", tmp_path / "base-hf")
    model = pytest.importorskip("transformers").CLIPModel.from_pretrained(tmp_path / "base-hf")
    adapter_folder(tmp_path / "adapter", model, "somebody/base", target_modules=ATTENTION)
    there = load_encoder(str(tmp_path / "adapter"), pretrained=str(tmp_path / "base-hf"))
    here = load_encoder(str(tmp_path / "adapter"), pretrained=str(base))
    assert here.weights_sha256 == there.weights_sha256 != load_encoder(str(base)).weights_sha256
    assert any("merged into" in note for note in here.notes)
    file = load_encoder(str(tmp_path / "adapter" / "adapter_model.safetensors"), pretrained=str(base))
    assert file.weights_sha256 == here.weights_sha256


def test_the_base_is_looked_for_beside_the_adapter_and_in_the_cache_of_the_hub(tmp_path):
    base, model = hf_folder(tmp_path / "run" / "base")
    made = adapter_folder(tmp_path / "run" / "adapter", model, "../base", target_modules=["fc1"])
    assert_rows_of(made, tmp_path / "run" / "adapter")
    place = tmp_path / "cache" / "weights" / "models--somebody--tiny"
    shutil.copytree(base, place)
    made = adapter_folder(tmp_path / "run" / "other", hf_model("clip"), "somebody/tiny", target_modules=["fc1"])
    assert_rows_of(made, tmp_path / "run" / "other", cache_dir=tmp_path / "cache")


def test_an_adapter_of_another_base_is_refused_by_its_tensors(tmp_path):
    base, model = hf_folder(tmp_path / "base", text={"num_hidden_layers": 3}, vision={"intermediate_size": 60})
    adapter_folder(tmp_path / "adapter", model, base, target_modules=["fc1"])
    other, _ = hf_folder(tmp_path / "other")
    message = hf_refusal(tmp_path / "adapter", pretrained=str(other))
    assert "is an adapter of another base than" in message
    assert "text_model.encoder.layers.2.mlp.fc1 is updated as (40, 24), which the base has not" in message
    assert "vision_model.encoder.layers.0.mlp.fc1 is updated as (60, 32), where the base has (48, 32)" in message


def test_what_is_not_merged_is_refused_by_name(tmp_path):
    base, model = hf_folder(tmp_path / "base")
    adapter_folder(tmp_path / "adapter", model, base, target_modules=["fc1"])
    file = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(file.read_text())

    def broken(**changes: Any) -> str:
        file.write_text(json.dumps(settings | changes))
        return hf_refusal(tmp_path / "adapter")

    assert "is an adapter of the kind 'IA3': LORA is read" in broken(peft_type="IA3")
    assert "has trainable_token_indices, which is not merged here" in broken(trainable_token_indices=[1])
    assert "no sound 'lora_alpha'" in broken(lora_alpha="8")
    assert "is no pattern" in broken(alpha_pattern={"(": 3})
    for costly in ("(a+)+b", "(a|a)*b", ".*.*.*b", "(?:a*)*b", "(a*){9}"):
        assert "may take for ever to look for: name the modules" in broken(alpha_pattern={costly: 3})
    many = {f"layers.{number}.mlp.fc1": 3 for number in range(4097)}
    assert "alpha_pattern: 4097 patterns of the names of modules" in broken(alpha_pattern=many)
    assert "does not name its base" in broken(base_model_name_or_path=None)
    assert "asks to run code" in broken(auto_map={"a": "b.C"})
    assert "which is one itself: merge that first" in broken(base_model_name_or_path=".")
    assert "means no model here: name its base with" in broken(base_model_name_or_path="a model of mine")
    assert "means no model here: name its base with" in broken(base_model_name_or_path="a" * 999)
    for odd in (["a"], "a" * 1001, 5):
        assert "its base_model_name_or_path is no name" in broken(base_model_name_or_path=odd)
    file.write_text(json.dumps(settings | {"base_model_name_or_path": "openai/clip-vit-base-patch32"}))
    message = hf_refusal(tmp_path / "adapter", NotAvailableError, cache_dir=tmp_path / "empty")
    assert "its base openai/clip-vit-base-patch32 is not here" in message
    assert "for the adapter with pretrained='FOLDER'" in message
    assert "leave out arch" in hf_refusal(tmp_path / "adapter", arch="ViT-B-32")
    assert "is an adapter: pretrained names the model" in hf_refusal(tmp_path / "adapter", pretrained="random")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    assert "is an adapter without adapter_model.safetensors" in hf_refusal(tmp_path / "adapter")


def test_scales_are_those_of_the_patterns(tmp_path):
    adapter = adapters.Adapter(tmp_path, "", 8, False, {"layers.1.mlp.fc1": 4})
    assert adapter.scale("text_model.encoder.layers.1.mlp.fc1", 2) == 2
    assert adapter.scale("text_model.encoder.layers.11.mlp.fc1", 2) == 4
    assert adapters.Adapter(tmp_path, "", 8, True).scale("fc1", 4) == 4
    with pytest.raises(InputError, match="without the adapter_config"):
        adapters.read(tmp_path)


def test_the_bias_that_a_saved_module_had_before_is_left_out(tmp_path):
    base, model = hf_folder(tmp_path / "base")
    options = {"target_modules": ["q_proj"], "bias": "all", "modules_to_save": ["layer_norm1", "post_layernorm"]}
    made = adapter_folder(tmp_path / "adapter", model, base, **options)
    assert any(
        ".original_module.bias" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    )
    assert_rows_of(made, tmp_path / "adapter")


@pytest.mark.parametrize("start", ["pissa", "olora"])
@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"use_dora": True, "target_modules": ["fc1", "q_proj"]}])
def test_an_adapter_that_reduces_its_base_gives_the_rows_of_peft(start, more, tmp_path):
    base, model = hf_folder(tmp_path / "base")
    options = {"target_modules": ["q_proj", "fc2"], "lora_alpha": 5, "init_lora_weights": start, **more}
    made = adapter_folder(tmp_path / "adapter", model, base, **options)
    assert_rows_of(made, tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(type(model).from_pretrained(base), tmp_path / "adapter").eval()
    assert_rows_of(again, tmp_path / "adapter")
    assert any(f"reduced first as PEFT does ({start})" in n for n in load_encoder(str(tmp_path / "adapter")).notes)


def test_a_converted_adapter_is_one_of_the_unchanged_base(tmp_path):
    base, model = hf_folder(tmp_path / "base")
    made = peft.get_peft_model(model, peft.LoraConfig(r=3, target_modules=["fc1"], init_lora_weights="pissa"))
    made.save_pretrained(tmp_path / "start")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    initial = {"path_initial_model_for_weight_conversion": str(tmp_path / "start")}
    made.save_pretrained(tmp_path / "adapter", **initial)
    assert_rows_of(made.eval(), tmp_path / "adapter", pretrained=str(base))


@pytest.mark.parametrize("start", ["pissa_niter_4", "corda", "loftq", "lora_ga", "of a later release"])
def test_an_adapter_of_a_base_that_only_its_training_knew_is_refused(start, tmp_path):
    base, model = hf_folder(tmp_path / "base")
    adapter_folder(tmp_path / "adapter", model, base, target_modules=["fc1"])
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": start}))
    message = hf_refusal(tmp_path / "adapter")
    assert f"its init_lora_weights {start!r} changes the base" in message
    assert "merge_and_unload() in PEFT" in message
    assert ("path_initial_model_for_weight_conversion=" in message) == (start in ("pissa_niter_4", "corda", "lora_ga"))


@pytest.mark.parametrize("start", ["gaussian", "eva", "mica", False])
def test_how_an_update_started_changes_nothing_where_the_base_is_left_alone(start, tmp_path):
    base, model = hf_folder(tmp_path / "base")
    made = adapter_folder(tmp_path / "adapter", model, base, target_modules=["fc1"], init_lora_weights=start)
    assert_rows_of(made, tmp_path / "adapter")


def equal_towers(folder: Path) -> tuple[Path, torch.nn.Module]:
    """A model of open_clip whose towers have one width and depth."""
    import open_clip

    tiny_model(folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    for part in ("vision_cfg", "text_cfg"):
        config["model_cfg"][part] |= {"width": 32, "layers": 2}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    module = drawn(open_clip.CLIP(**config["model_cfg"])).eval()
    save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    return folder, module


def tower_adapter(folder: Path, tower: torch.nn.Module, **changes: Any) -> Any:
    made = adapter_folder(folder, tower, "", target_modules=["c_fc"])
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return made


def test_an_adapter_of_the_image_tower_is_merged_there(tmp_path):
    base, module = equal_towers(tmp_path / "base")
    pixels = torch.randn(
        3, 3, *load_encoder(str(base)).preprocessing["size"], generator=torch.Generator().manual_seed(0)
    )
    plain = load_encoder(str(base)).encode_image(pixels)
    module.visual = tower_adapter(tmp_path / "adapter", module.visual)
    encoder = load_encoder(str(tmp_path / "adapter"), pretrained=str(base))
    with torch.inference_mode():
        theirs = module.encode_image(pixels)
    assert float((encoder.encode_image(pixels) - theirs).abs().max()) < CLOSE < float((plain - theirs).abs().max())
    tokens, _ = encoder.tokenize(["a text"])
    assert torch.equal(encoder.encode_text(tokens), load_encoder(str(base)).encode_text(tokens))
    assert f"adapter: an adapter, merged into the image tower of {base}" in encoder.notes


def test_an_adapter_that_fits_both_towers_is_refused_until_it_says_which(tmp_path):
    base, module = equal_towers(tmp_path / "base")
    tower_adapter(tmp_path / "adapter", module.visual, auto_mapping=None)
    message = hf_refusal(tmp_path / "adapter", pretrained=str(base))
    assert "fits the whole model (transformer.resblocks.0.mlp.c_fc.weight, ...) and the image tower (visual." in message
    assert '"auto_mapping": {"base_model_class": "VisionTransformer"}' in message
    found = {}
    for name in ("VisionTransformer", "TextTransformer", "CLIP"):
        file = tmp_path / "adapter" / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_mapping": {"base_model_class": name}}))
        found[name] = load_encoder(str(tmp_path / "adapter"), pretrained=str(base)).weights_sha256
    assert found["TextTransformer"] == found["CLIP"] != found["VisionTransformer"]


def test_an_adapter_that_fits_one_tower_alone_needs_to_say_nothing(tmp_path):
    import open_clip

    base = tiny_model(tmp_path / "base")
    module = drawn(open_clip.create_model(f"local-dir:{base}"))
    save_file(module.state_dict(), base / "open_clip_model.safetensors")
    tower_adapter(tmp_path / "adapter", module.visual, auto_mapping=None)
    notes = load_encoder(str(tmp_path / "adapter"), pretrained=str(base)).notes
    assert any("merged into the image tower of" in note for note in notes)
    tower_adapter(tmp_path / "other", module.visual, auto_mapping={"base_model_class": "CLIP"})
    assert "is an adapter of another base than" in hf_refusal(tmp_path / "other", pretrained=str(base))


def test_an_adapter_of_one_tower_of_transformers_is_merged_there(tmp_path):
    base, model = hf_folder(tmp_path / "base")
    model.vision_model = adapter_folder(tmp_path / "adapter", model.vision_model, base, target_modules=["fc1"])
    pixels, _ = hf_inputs(model)
    encoder = load_encoder(str(tmp_path / "adapter"))
    with torch.inference_mode():
        theirs = model.visual_projection(model.vision_model(pixels).pooler_output)
    assert float((encoder.encode_image(pixels) - theirs).abs().max()) < CLOSE


def test_an_adapter_of_a_clip_is_refused_over_a_siglip_though_its_layers_fit(tmp_path):
    alike = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    clip, model = hf_folder(tmp_path / "clip", text=alike)
    siglip, other = hf_folder(tmp_path / "siglip", "siglip", text=alike)
    adapter_folder(tmp_path / "adapter", model, clip, target_modules=["q_proj"])
    message = hf_refusal(tmp_path / "adapter", pretrained=str(siglip))
    assert f"is an adapter of a CLIPModel ({clip}), and {siglip} is a SiglipModel" in message
    adapter_folder(tmp_path / "back", other, siglip, target_modules=["q_proj"])
    assert "is an adapter of a SiglipModel" in hf_refusal(tmp_path / "back", pretrained=str(clip))
    naflex, _ = hf_folder(tmp_path / "naflex", "siglip2", text=alike)
    assert f"and {naflex} is a Siglip2Model" in hf_refusal(tmp_path / "back", pretrained=str(naflex))
    copy, _ = hf_folder(tmp_path / "copy", text=alike, seed=1)
    notes = load_encoder(str(tmp_path / "adapter"), pretrained=str(copy)).notes
    assert f"adapter: names {clip} as its base, not {copy}" in notes


def test_updates_of_output_projections_that_peft_runs_otherwise_are_noted(tmp_path):
    base, model = hf_folder(tmp_path / "base", "siglip")
    projection = "vision_model.head.attention.out_proj"
    made = adapter_folder(tmp_path / "alone", model, base, target_modules=["q_proj", "out_proj"])
    said = f"alone: the update of {projection} is added once; PEFT 0.21 runs without it"
    assert said in load_encoder(str(tmp_path / "alone")).notes
    merged = made.merge_and_unload()
    assert_rows_of_model(merged, tmp_path / "alone")
    adapter_folder(tmp_path / "joint", hf_model("siglip"), base, target_modules=["attention"])
    said = f"joint: the update of {projection} is added once; PEFT 0.21 adds it twice"
    assert said in load_encoder(str(tmp_path / "joint")).notes
    adapter_folder(tmp_path / "none", hf_model("siglip"), base, target_modules=["q_proj"])
    assert not any("PEFT 0.21" in note for note in load_encoder(str(tmp_path / "none")).notes)
