"""Exports: what open_clip and transformers make of them is what geomclip makes of the checkpoint."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from helpers import assert_one_line, assert_same_rows, picture, run_cli
from PIL import Image
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model
from torch import Tensor

from geomclip.encoders import Encoder, how_to_load, load_encoder, save_checkpoint, towers
from geomclip.encoders import export as exporting
from geomclip.machine.errors import GeomclipError, InputError

pytestmark = pytest.mark.numeric

MADE = {"method": "m2mix", "settings": {"lr": 1e-5}, "step": 300, "data": {"dataset": "emoji"}}
TEXTS = [
    "a dog",
    "it's 3.5 %: naïve café",
    "two red buses and so many other words that nothing of the rest is left",
    "",
]
VISION, TEXT = CONFIG["vision_cfg"], CONFIG["text_cfg"]
RESIDUAL = {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}}
TIMM = {"vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160}}
COCA = {
    "custom_text": True,
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def checkpoint(folder: Path, *, preprocess: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run folder with the weights of a tiny model."""
    base = load_encoder(str(tiny_model(folder / "base", preprocess=preprocess, **config)))
    draw = torch.Generator().manual_seed(3)
    state = {
        name: value + 0.05 * torch.randn(value.shape, generator=draw) if value.is_floating_point() else value
        for name, value in base.module.state_dict().items()
    }
    save_checkpoint(base, state, folder / "run" / "best.safetensors", made=MADE)
    return folder / "run"


def pixels(encoder: Encoder) -> Tensor:
    return torch.randn(3, 3, *encoder.preprocessing["size"], generator=torch.Generator().manual_seed(0))


def photo(tmp_path: Path) -> Image.Image:
    (tmp_path / "photo.png").write_bytes(picture(1, (90, 57)))
    return Image.open(tmp_path / "photo.png").convert("RGB")


def features(found: Any) -> Tensor:
    """Rows of get_image_features and get_text_features: a tensor before transformers 5, part of a record since."""
    return found if isinstance(found, Tensor) else found.pooler_output


# for open_clip


@pytest.mark.parametrize(
    "config",
    [{}, {"quick_gelu": True}, {"custom_text": True, "init_logit_bias": -10}, RESIDUAL, TIMM, COCA],
    ids=["vit", "quick", "siglip", "resnet", "timm", "coca"],
)
def test_open_clip_encodes_an_export_as_we_do(tmp_path: Path, config: dict[str, Any]) -> None:
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "longest", "fill_color": 9}
    run = checkpoint(tmp_path, preprocess=preprocess, **config)
    loads = exporting.export(str(run), "openclip", tmp_path / "out")
    with towers.quiet():
        module, _, transform = eval(loads, {"open_clip": open_clip})
        tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS)
    module.eval().requires_grad_(False)  # as ours: torch may take other kernels for weights that learn
    encoder = load_encoder(str(run))
    with torch.no_grad():
        image = module.encode_image(pixels(encoder), normalize=False)  # CoCa normalises unless told not to
        assert_same_rows(image, encoder.encode_image(pixels(encoder)))
        text = module.encode_text(tokens, normalize=False)
        assert_same_rows(text, encoder.encode_text(encoder.tokenize(TEXTS)[0]))
        assert module.logit_scale.exp().item() == pytest.approx(encoder.logit_scale)
    assert torch.equal(transform(photo(tmp_path)), encoder.preprocess()(photo(tmp_path)))


def test_an_export_for_open_clip_still_knows_what_it_was_made_from(tmp_path: Path) -> None:
    run = checkpoint(tmp_path)
    exporting.export(str(run), "openclip", tmp_path / "out")
    encoder, again = load_encoder(str(run)), load_encoder(f"local-dir:{tmp_path / 'out'}")
    assert again.finetuned == encoder.finetuned
    assert again.finetuned["made"]["settings"] == {"lr": 1e-5}
    assert again.weights_sha256 == encoder.weights_sha256


def test_a_tokenizer_of_transformers_goes_along(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "rain", "red"]
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    run = checkpoint(tmp_path, text_cfg={**TEXT, "vocab_size": 9, "hf_tokenizer_name": "nobody/none"})
    exporting.export(str(run), "openclip", tmp_path / "out")
    (tmp_path / "base").rename(tmp_path / "gone")  # the export needs nothing but itself
    expected = [[2, 5, 8, 6, 3] + [0] * 7]
    with towers.quiet():
        assert open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(["a red dog"]).tolist() == expected
    assert load_encoder(f"local-dir:{tmp_path / 'out'}").tokenize(["a red dog"])[0].tolist() == expected


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    yield
    monkeypatch.undo()
    forget_architectures(towers)


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_the_line_that_is_told_loads_a_stock_architecture_with_its_preprocessing(
    tmp_path: Path, resize_mode: str
) -> None:
    file = checkpoint(tmp_path, preprocess={"mean": 0.5, "resize_mode": resize_mode}, quick_gelu=True)
    encoder = load_encoder(str(file))
    line = how_to_load(encoder, file / "best.safetensors")
    assert line.startswith("in open_clip: open_clip.create_model_and_transforms('Tiny-quickgelu', pretrained='")
    assert ("image_resize_mode" in line) == (resize_mode == "squash")
    with towers.quiet():
        module, _, transform = eval(line.removeprefix("in open_clip: "), {"open_clip": open_clip})
    with torch.no_grad():
        assert_same_rows(module.eval().encode_image(pixels(encoder)), encoder.encode_image(pixels(encoder)))
    assert torch.equal(transform(photo(tmp_path)), encoder.preprocess()(photo(tmp_path)))


def test_the_line_for_other_models_names_the_export_that_works(tmp_path: Path) -> None:
    encoder = load_encoder("demo")
    assert how_to_load(encoder, Path("run/best.safetensors")) == (
        "for open_clip: geomclip export run/best.safetensors --to openclip --out FOLDER"
    )
    with pytest.MonkeyPatch.context() as patch:
        tiny_architectures(tmp_path / "architectures", patch)
        padded = checkpoint(tmp_path, preprocess={"resize_mode": "longest", "fill_color": 255})
        assert "export" in how_to_load(load_encoder(str(padded)), padded)
    forget_architectures(towers)
    shifted = dataclasses.replace(encoder, shift=torch.zeros(128))
    assert how_to_load(shifted, Path("run/best.safetensors")) == (
        "the shift of method es is applied by geomclip alone: model='run/best.safetensors'"
    )


# for transformers


EXPRESSED: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quick": {"quick_gelu": True},
    "custom text": {"custom_text": True, "nonscalar_logit_scale": True},
    "settings": {
        "vision_cfg": {
            **VISION,
            "mlp_ratio": 3.0,
            "norm_kwargs": {"eps": 1e-3},
            "image_size": 36,
            "patch_dropout": 0.5,
        },
        "text_cfg": {**TEXT, "mlp_ratio": 2.0, "layers": 2, "context_length": 20, "pool_type": "eos", "eos_id": 49407},
    },
}


@pytest.mark.parametrize("kind", EXPRESSED)
def test_transformers_encodes_an_export_as_we_do(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    run = checkpoint(tmp_path, **EXPRESSED[kind])
    exporting.export(str(run), "hf", tmp_path / "out")
    assert_same_in_transformers(transformers, tmp_path / "out", load_encoder(str(run)))


def test_the_demo_model_can_be_had_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    exporting.export("demo", "hf", tmp_path / "out")
    assert_same_in_transformers(transformers, tmp_path / "out", load_encoder("demo"))


def assert_same_in_transformers(transformers: Any, out: Path, encoder: Encoder) -> None:
    model, info = transformers.CLIPModel.from_pretrained(out, output_loading_info=True)
    assert not any(info[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    length = {"padding": "max_length", "truncation": True}  # the length is that of the export
    batch = tokenizer(TEXTS, return_tensors="pt", **length)
    assert batch.input_ids.shape[1] == encoder.context_length
    tokens, _ = encoder.tokenize(TEXTS)
    end = (tokens == 49407).int().argmax(dim=1, keepdim=True)
    kept = torch.arange(encoder.context_length) <= end  # behind the end transformers pads in its own way
    assert torch.equal(batch.input_ids[kept], tokens[kept])
    model.eval()
    with torch.no_grad():
        image = features(model.get_image_features(pixel_values=pixels(encoder)))
        text = features(model.get_text_features(**batch))
        assert torch.allclose(image, encoder.encode_image(pixels(encoder)), atol=1e-5)
        assert torch.allclose(text, encoder.encode_text(tokens), atol=1e-5)
        assert model.logit_scale.exp().item() == pytest.approx(encoder.logit_scale)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_transformers_prepares_images_as_we_do_with_its_pil_backend(
    tmp_path: Path, resize_mode: str, interpolation: str
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    pil = pytest.importorskip("transformers.models.clip.image_processing_pil_clip", reason="transformers before 5")
    preprocess = {"mean": 0.5, "std": [0.2, 0.3, 0.4], "resize_mode": resize_mode, "interpolation": interpolation}
    encoder = load_encoder(str(tiny_model(tmp_path / "base", preprocess=preprocess)))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(exporting.hf_processor(encoder)))
    processor = pil.CLIPImageProcessorPil.from_pretrained(tmp_path)
    found = torch.as_tensor(processor(photo(tmp_path), return_tensors="pt").pixel_values[0])
    assert torch.allclose(found, encoder.preprocess()(photo(tmp_path)), atol=1e-6)


LACKING: dict[str, tuple[dict[str, Any], str]] = {
    "timm": (TIMM, "a tower of timm"),
    "resnet": (RESIDUAL, "a residual network"),
    "coca": (COCA, "a caption decoder"),
    "siglip": ({"init_logit_bias": -10}, "a logit bias"),
    "oblong": ({"vision_cfg": {**VISION, "image_size": [32, 40]}}, "an image that is not square"),
    "pooling": ({"vision_cfg": {**VISION, "pool_type": "avg"}}, "image pooling 'avg'"),
    "no pre-norm": ({"vision_cfg": {**VISION, "no_ln_pre": True}}, "no norm before the transformer"),
    "layer scale": ({"vision_cfg": {**VISION, "ls_init_value": 0.1}}, "ls_init_value 0.1"),
    "blocks": ({"text_cfg": {**TEXT, "qk_norm": True}}, "qk_norm True"),
    "text pooling": ({"text_cfg": {**TEXT, "pool_type": "last"}}, "text pooling 'last'"),
    "looks ahead": ({"text_cfg": {**TEXT, "no_causal_mask": True}}, "a text tower that looks ahead"),
    "projection": ({"text_cfg": {**TEXT, "proj_bias": True}, "custom_text": True}, "another text projection"),
    "vocabulary": ({"text_cfg": {**TEXT, "vocab_size": 50000}}, "a tokenizer of its own"),
    "cleaning": ({"text_cfg": {**TEXT, "tokenizer_kwargs": {"clean": "canonicalize"}}}, "a tokenizer of its own"),
}


@pytest.mark.parametrize("kind", LACKING)
def test_what_transformers_clip_has_not_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    config, message = LACKING[kind]
    model = tiny_model(tmp_path / "base", **config)
    done = run_cli(capsys, "export", f"local-dir:{model}", "--to", "hf", "--out", tmp_path / "out")
    assert_one_line(done, 2, f"has {message}, which transformers' CLIPModel has not: use --to openclip")
    assert not (tmp_path / "out").exists()


def test_padded_images_are_refused_for_transformers(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "base", preprocess={"resize_mode": "longest"})
    with pytest.raises(InputError, match="pads its images to a square, which transformers' CLIPImageProcessor cannot"):
        exporting.export(str(model), "hf", tmp_path / "out")


@pytest.mark.slow
def test_a_full_size_checkpoint_is_read_by_open_clip_by_its_name_and_by_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    base = load_encoder("ViT-B/32", pretrained="random")
    file = tmp_path / "run" / "best.safetensors"
    save_checkpoint(base, base.module.state_dict(), file, made=MADE)
    encoder = load_encoder(str(file))
    line = how_to_load(encoder, file)
    assert line == f"in open_clip: open_clip.create_model_and_transforms('ViT-B-32-quickgelu', pretrained='{file}')"
    with towers.quiet():
        module, _, transform = eval(line.removeprefix("in open_clip: "), {"open_clip": open_clip})
    with torch.no_grad():
        assert_same_rows(module.eval().encode_image(pixels(encoder)), encoder.encode_image(pixels(encoder)))
    assert torch.equal(transform(photo(tmp_path)), encoder.preprocess()(photo(tmp_path)))
    exporting.export(str(file), "hf", tmp_path / "out")
    assert_same_in_transformers(transformers, tmp_path / "out", encoder)


# the folder


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_a_shifted_checkpoint_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str) -> None:
    base = load_encoder(str(tiny_model(tmp_path / "base")))
    shifted = dataclasses.replace(base, shift=torch.full((16,), 0.1))
    file = tmp_path / "run" / "best.safetensors"
    save_checkpoint(shifted, base.module.state_dict(), file, made={"method": "es"})
    done = run_cli(capsys, "export", file, "--to", to, "--out", tmp_path / "out")
    assert_one_line(done, 2, str(file), "moves its rows along the gap after encoding (method es)")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_folder_and_how_to_load_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = checkpoint(tmp_path), tmp_path / "deep" / "out"
    (tmp_path / "deep").mkdir()
    out.mkdir()  # an empty folder is as good as none
    done = run_cli(capsys, "export", run, "--to", "openclip", "--out", out)
    assert (done.code, done.out) == (0, f"{out}\n")
    assert done.err == f"load it with open_clip.create_model_and_transforms('local-dir:{out}')\n"
    assert sorted(path.name for path in out.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    done = run_cli(capsys, "export", run, "--to", "hf", "--out", tmp_path / "hf", "--quiet")
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'hf'}\n", "")


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    done = run_cli(capsys, "export", "demo", "--to", "openclip", "--out", out)
    assert_one_line(done, 2, f"{out} is there already: name a new or empty folder")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    done = run_cli(capsys, "export", "demo", "--to", "openclip", "--out", out / "mine.txt")
    assert_one_line(done, 2, "mine.txt is there already")
    assert (out / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_a_full_disk_leaves_no_half_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    model = tiny_model(tmp_path / "base")
    place = tmp_path / "place"
    place.mkdir()

    def fills_up(out: Any, *_: object) -> None:
        out.write(b"\0" * 100)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_safetensors", fills_up)
    with pytest.raises(GeomclipError, match="the disk is full"):
        exporting.export(str(model), to, place / "out")
    assert list(place.iterdir()) == []


def test_an_unknown_model_or_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_cli(capsys, "export", tmp_path / "absent.safetensors", "--to", "hf", "--out", tmp_path / "out")
    assert_one_line(done, 2, "absent.safetensors", "no such file")
    done = run_cli(capsys, "export", "demo", "--to", "onnx", "--out", tmp_path / "out")
    assert_one_line(done, 2, "onnx")
    assert not (tmp_path / "out").exists()
