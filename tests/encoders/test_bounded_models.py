"""A configuration of somebody else's that asks for too much: refused by the name of its limit, before it is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import assert_one_line, folder_of_pairs, run_cli
from hf_models import hf_folder, hf_refusal
from tiny_models import CONFIG, tiny_model

from geomclip.encoders import load_encoder, sizes, towers
from geomclip.encoders.configuration import CONFIG_FILE, read_config
from geomclip.machine.errors import InputError

TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"vision_cfg": {"layers": 10**6}}, "layers: 1000000 layers of a tower, more than 512"),
    "layers of text": ({"text_cfg": {"layers": 10**6}}, "layers: 1000000 layers of a tower, more than 512"),
    "a list of layers": ({"vision_cfg": {"layers": [400, 400, 2, 2]}}, "layers: 804 layers of a tower"),
    "width": ({"vision_cfg": {"width": 10**6}}, "width: 1000000 dimensions"),
    "heads": ({"text_cfg": {"heads": 10**6}}, "heads: 1000000 dimensions of a layer, and heads"),
    "dimensions": ({"embed_dim": 10**9}, "embed_dim: 1000000000 dimensions"),
    "vocabulary": ({"text_cfg": {"vocab_size": 10**10}}, "vocab_size: 10000000000 words"),
    "context": ({"text_cfg": {"context_length": 10**6}}, "context_length: 1000000 tokens of a text, more than 16384"),
    "image": ({"vision_cfg": {"image_size": 10**5}}, "image_size: 100000 pixels of a side"),
    "images": ({"vision_cfg": {"image_size": [32, 10**5]}}, "image_size: 100000 pixels of a side"),
    "patches": ({"vision_cfg": {"image_size": 4096, "patch_size": 2}}, "image_size: 4194304 patches"),
    "ratio": ({"vision_cfg": {"mlp_ratio": 1e9}}, "mlp_ratio: 1000000000 dimensions"),
    "of another part": ({"multimodal_cfg": {"layers": 10**6}}, "layers: 1000000 layers"),
    "any number": ({"vision_cfg": {"act_kwargs": {"n": 10**12}}}, "n: 1000000000000 words"),
}


def asking(folder: Path, more: dict[str, Any]) -> Path:
    parts = {key: {**CONFIG.get(key, {}), **value} if isinstance(value, dict) else value for key, value in more.items()}
    return tiny_model(folder, weights=False, **parts)


@pytest.mark.parametrize(("more", "message"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_a_folder_that_asks_for_too_much_is_refused_before_it_is_built(
    more: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "build", lambda *_, **__: pytest.fail("built"))
    monkeypatch.setattr(towers, "outline", lambda *_, **__: pytest.fail("outlined"))
    with pytest.raises(InputError, match=message) as refusal:
        load_encoder(f"local-dir:{asking(tmp_path / 'model', more)}", pretrained="random")
    assert "set GEOMCLIP_LIMITS=" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_more_weights_than_fit_are_refused_where_no_single_size_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = asking(tmp_path / "model", {"vision_cfg": {"width": 16384, "layers": 200}})
    with pytest.raises(InputError, match=r"[0-9]{12} weights of a model, .* more than 10000000000: refused"):
        load_encoder(str(folder), pretrained="random")
    tiny = str(tiny_model(tmp_path / "tiny"))
    count = sizes.weights(towers.outline(CONFIG, where="tiny"))
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"weights={count - 1}")
    with pytest.raises(InputError, match=f"{count} weights of a model"):
        load_encoder(tiny)
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"weights={count}")
    load_encoder(tiny)


@pytest.mark.parametrize("name", ["hf-hub:org/model", "local-dir:/elsewhere"])
def test_a_tower_of_timm_that_is_described_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = asking(tmp_path / "model", {"vision_cfg": {"timm_model_name": name}})
    with pytest.raises(InputError, match="its 'timm_model_name' leads to another folder or repository: refused"):
        load_encoder(str(folder), pretrained="random")


def test_a_text_tower_of_transformers_is_bounded_too(tmp_path: Path) -> None:
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 10**6}))
    folder = asking(tmp_path / "model", {"text_cfg": {"hf_model_name": str(tower)}})
    with pytest.raises(InputError, match=r"tower/config\.json: num_hidden_layers: 1000000 layers"):
        load_encoder(str(folder), pretrained="random")


BEYOND: dict[str, tuple[str, str, dict[str, int], str]] = {
    "layers": ("clip", "vision_config", {"num_hidden_layers": 10**7}, "num_hidden_layers: 10000000 layers of a tower"),
    "width": ("siglip", "text_config", {"hidden_size": 2 * 10**6}, "hidden_size|dimensions"),
    "context": ("clip", "text_config", {"max_position_embeddings": 10**6}, "1000000 tokens of a text"),
    "words": ("siglip", "text_config", {"vocab_size": 10**9}, "1000000000 words of a text tower"),
    "image": ("clip", "vision_config", {"image_size": 10**5}, "100000 pixels of a side"),
    "side": ("siglip", "vision_config", {"image_size": 10**5}, "100000 pixels of a side"),
    "patches": ("siglip", "vision_config", {"image_size": 4096, "patch_size": 1}, "16777216 patches of such an image"),
    "more patches": ("siglip2", "vision_config", {"num_patches": 10**8}, "80000 pixels of a side"),
}


@pytest.mark.parametrize(("kind", "part", "more", "message"), BEYOND.values(), ids=BEYOND.keys())
def test_a_folder_of_transformers_that_asks_for_too_much_is_refused_before_it_is_built(
    kind: str, part: str, more: dict[str, int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf_folder(tmp_path / "model", kind)
    file = tmp_path / "model" / "config.json"
    settings = json.loads(file.read_text())
    settings[part] |= more
    file.write_text(json.dumps(settings))
    monkeypatch.setattr(towers, "outline", lambda *_, **__: pytest.fail("outlined"))
    refusal = hf_refusal(tmp_path / "model", pretrained="random")
    assert re.search(message, refusal)
    if "hidden_size" not in more:
        assert "refused; if you trust it, set GEOMCLIP_LIMITS=" in refusal


def test_a_limit_that_is_raised_lets_a_folder_of_transformers_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf_folder(tmp_path / "model")
    monkeypatch.setenv("GEOMCLIP_LIMITS", "layers=1")
    assert "2 layers of a tower, more than 1: refused" in hf_refusal(tmp_path / "model")
    monkeypatch.setenv("GEOMCLIP_LIMITS", "layers=2")
    load_encoder(str(tmp_path / "model"))


def test_a_file_of_a_tokenizer_of_transformers_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf_folder(tmp_path / "model")
    size = (tmp_path / "model" / "tokenizer.json").stat().st_size
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"tokenizer-bytes={size - 1}")
    assert f"tokenizer.json: {size} bytes of a file of a tokenizer" in hf_refusal(tmp_path / "model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**6}, "num_hidden_layers: 1000000 layers of a tower"),
        ({"text_config": {"d_model": 10**6}}, "d_model: 1000000 dimensions of a layer"),
        ({"hidden_size": 1024, "vocab_size": 10**9}, "vocab_size: 1000000000 words"),
        ({"hidden_size": 8192, "max_position_embeddings": 10**8}, "max_position_embeddings: 819200000000 weights"),
        ({"hidden_size": 32768, "num_hidden_layers": 500}, "536870912000 weights of a model"),
    ],
)
def test_a_tower_that_transformers_builds_is_bounded(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"config.json: {message}"):
        sizes.check_tower(settings, "config.json")


def test_constants_and_contexts_of_large_models_of_texts_are_let_in() -> None:
    large = {"hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12288, "vocab_size": 151_665}
    sizes.check_tower({**large, "max_position_embeddings": 131_072, "rope_theta": 1e9, "seed": 10**12}, "config.json")


def test_every_architecture_of_open_clip_is_within_the_limits() -> None:
    def refusal(name: str) -> str:
        try:
            sizes.check(towers.architecture_config(name), name)
        except InputError as refused:
            return str(refused)
        return ""

    assert {name: text for name in towers.architectures() if (text := refusal(name))} == {}


def test_a_configuration_that_is_too_long_or_too_deep_is_refused(tmp_path: Path) -> None:
    file = tmp_path / CONFIG_FILE
    file.write_text("[" * 50_000)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_config(file)
    deep: Any = 1
    for _ in range(150):
        deep = {"a": deep}
    file.write_text(json.dumps({"model_cfg": {**CONFIG, "deep": deep}}))
    with pytest.raises(InputError, match="101 lists and objects within one another"):
        read_config(file)
    file.write_bytes(b" " * (5 << 20))
    with pytest.raises(InputError, match="5242880 bytes of the JSON that describes a model, more than 4194304"):
        read_config(file)


def test_a_header_of_tensors_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes((60 << 20).to_bytes(8, "little"))
    with pytest.raises(InputError, match="62914560 bytes of the header of a safetensors file"):
        load_encoder("ViT-B-32", pretrained=str(file))


def test_a_tokenizer_with_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = asking(tmp_path / "model", {"text_cfg": {"hf_tokenizer_name": "nobody/none"}})
    (folder / "tokenizer.json").write_bytes(b" " * 1001)
    monkeypatch.setenv("GEOMCLIP_LIMITS", "tokenizer-bytes=1000")
    with pytest.raises(InputError, match=r"tokenizer\.json: 1001 bytes of a file of a tokenizer, more than 1000"):
        load_encoder(str(folder), pretrained="random")


def test_a_command_names_the_switch_and_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of_pairs(tmp_path / "pairs", 4)
    model = asking(tmp_path / "model", {"text_cfg": {"layers": 600}})
    arguments = ["extract", "--model", model, "--pretrained", "random", "--data", f"folder:{data}", "--workers", 0]
    done = run_cli(capsys, *arguments, "--out", tmp_path / "out")
    assert_one_line(done, 2, "layers: 600 layers of a tower, more than 512: refused; if you trust it, --raise-limit ")
    assert "--raise-limit layers=600" in done.err
    done = run_cli(capsys, *arguments, "--out", tmp_path / "out", "--raise-limit", "layers=600")
    assert done.code == 0, done.err
    done = run_cli(capsys, *arguments, "--out", tmp_path / "more")
    assert_one_line(done, 2, "600 layers of a tower")
    done = run_cli(capsys, *arguments, "--out", tmp_path / "more", "--raise-limit", "layer=600")
    assert_one_line(done, 2, "--raise-limit: no limit 'layer'; did you mean layers?")
