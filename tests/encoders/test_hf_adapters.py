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
    model = made.get_base_model()
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
