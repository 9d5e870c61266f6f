"""Encoders: what is built, what is read and refused, what comes out."""

import dataclasses
import json
import logging
import math
import pickle
import time
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from helpers import ROOT, RunsCode, assert_same_rows
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model
from torch import Tensor

from geomclip.encoders import Encoder, clip, load_encoder, metadata, names, towers
from geomclip.encoders.weights import contents, fitting
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder) -> Encoder:
    return load_encoder(str(folder))


@pytest.fixture
def tiny_architecture(tmp_path, monkeypatch):
    """open_clip with two configurations more, Tiny and Tiny-quickgelu, and three tags of Tiny."""
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    normal = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    marked = {"hf_hub": "org/tiny/", "quick_gelu": True, **normal}
    table = open_clip.pretrained._PRETRAINED
    monkeypatch.setitem(table, "Tiny", {"openai": marked, "plain": {"hf_hub": "org/plain/", **normal}})
    monkeypatch.setitem(table, "Tiny-quickgelu", {"openai": marked})
    monkeypatch.setitem(
        table, "Lone", {"marked": {"hf_hub": "org/lone/pytorch_model.bin", "quick_gelu": True, **normal}}
    )
    forget_architectures(towers)
    yield
    monkeypatch.undo()
    forget_architectures(towers)


def activations(module: torch.nn.Module) -> set[type]:
    return {type(part) for part in module.modules() if isinstance(part, QuickGELU | torch.nn.GELU)}


def place(cache_dir: Path, repo: str, name: str, state: dict[str, Tensor]) -> None:
    """Weights where the message tells people to place them."""
    target = cache_dir / "weights" / f"models--{repo.replace('/', '--')}"
    target.mkdir(parents=True, exist_ok=True)
    save_file(state, target / name)


# the activation


def test_openai_weights_are_built_with_quick_gelu(tiny_architecture, encoder, tmp_path):
    place(tmp_path, "org/tiny", "open_clip_model.safetensors", encoder.module.state_dict())
    for name in ("Tiny:openai", "Tiny-quickgelu:openai"):
        found = load_encoder(name, cache_dir=tmp_path)
        assert activations(found.module) == {QuickGELU}
        assert found.quick_gelu is True
        assert (found.arch, found.pretrained) == ("Tiny-quickgelu", "openai")


def test_other_weights_are_built_with_gelu(tiny_architecture, encoder, tmp_path):
    place(tmp_path, "org/plain", "open_clip_model.safetensors", encoder.module.state_dict())
    found = load_encoder("Tiny:plain", cache_dir=tmp_path)
    assert activations(found.module) == {torch.nn.GELU}
    assert (found.quick_gelu, found.arch) == (False, "Tiny")


def test_a_marked_tag_without_a_quickgelu_twin_is_built_with_quick_gelu_too(tiny_architecture, encoder, tmp_path):
    place(tmp_path, "org/lone", "pytorch_model.safetensors", encoder.module.state_dict())
    assert activations(load_encoder("Lone:marked", cache_dir=tmp_path).module) == {QuickGELU}


def test_a_checkpoint_of_ours_remembers_its_activation(tmp_path):
    source = tiny_model(tmp_path / "quick", quick_gelu=True)
    base = load_encoder(str(source))
    run = tmp_path / "run"
    run.mkdir()
    save_file(base.module.state_dict(), run / "best.safetensors", metadata=metadata(base, base.made_from()))
    again = load_encoder(str(run))
    assert activations(again.module) == {QuickGELU}
    assert again.quick_gelu is True
    assert again.weights_sha256 == base.weights_sha256
    assert again.preprocessing == base.preprocessing
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.encode_image(pixels), base.encode_image(pixels))


def test_the_metadata_of_a_checkpoint_go_before_arch(tiny_architecture, tmp_path):
    base = load_encoder("Tiny-quickgelu", pretrained="random")
    file = tmp_path / "best.safetensors"
    save_file(base.module.state_dict(), file, metadata=metadata(base, {}))
    found = load_encoder(str(file), arch="Tiny")
    assert found.quick_gelu is True
    assert found.notes == ("best.safetensors says it is Tiny-quickgelu: used in place of Tiny",)


def test_a_checkpoint_that_does_not_say_its_activation_is_noted(tiny_architecture, encoder, tmp_path):
    file = tmp_path / "epoch_3.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in encoder.module.state_dict().items()}}, file)
    found = load_encoder(str(file), arch="Tiny")
    assert any("does not say its activation, GELU is assumed" in note for note in found.notes)
    assert found.weights_sha256 == encoder.weights_sha256
    named = load_encoder(str(file), arch="Tiny-quickgelu")
    assert activations(named.module) == {QuickGELU}
    assert not any("activation" in note for note in named.notes)


def test_a_weights_file_gets_the_preprocessing_that_all_tags_of_its_architecture_share(
    tiny_architecture, encoder, tmp_path
):
    file = tmp_path / "own.safetensors"
    save_file(encoder.module.state_dict(), file)
    found = load_encoder("Tiny", pretrained=str(file))
    assert found.preprocessing["mean"] == [0.5] * 3
    assert found.preprocessing["resize_mode"] == "squash"


# random weights


def test_random_weights_follow_the_seed_alone():
    before = torch.random.get_rng_state()
    modules = [towers.build(CONFIG, {}, seed=seed, where="") for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    first, again, other = (fitting.weights_sha256(module.state_dict()) for module in modules)
    assert first == again != other


def test_a_random_encoder_is_named_random(folder):
    found = load_encoder(str(folder), pretrained="random", seed=7)
    assert found.pretrained == "random"
    assert found.notes == ("random weights (seed 7): the numbers say nothing about a trained model",)
    assert found.made_from()["notes"] == list(found.notes)


def test_building_is_silent_and_leaves_logging_alone(folder, capfd):
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters), root.level)
    load_encoder(str(folder), pretrained="random")
    assert (root.handlers, root.filters, root.level) == before
    assert capfd.readouterr() == ("", "")


# what comes out


def test_rows_are_those_of_open_clip(folder, encoder):
    module, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    image = Image.effect_mandelbrot((61, 47), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    pixels = encoder.preprocess()(image)[None]
    assert torch.equal(pixels[0], transform(image))
    tokens, _ = encoder.tokenize(["a mandelbrot set"])
    module.eval()
    with torch.no_grad():
        assert_same_rows(encoder.encode_image(pixels), module.encode_image(pixels))
        assert_same_rows(encoder.encode_text(tokens), module.encode_text(tokens))
        assert encoder.logit_scale == module.logit_scale.exp().item()


def test_rows_are_float32_and_not_normalised(encoder):
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for rows in (encoder.encode_image(pixels), encoder.encode_text(encoder.tokenize(["a", "b", "c"])[0])):
        assert (rows.shape, rows.dtype, rows.requires_grad) == ((3, 16), torch.float32, False)
        assert (rows.norm(dim=1) - 1).abs().min() > 1e-3


def test_a_row_does_not_depend_on_its_neighbours(encoder):
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([encoder.encode_image(row[None]) for row in pixels])
    torch.testing.assert_close(encoder.encode_image(pixels), alone, rtol=0, atol=1e-5)  # float32 rounding


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA", "P"])
def test_preprocessing_is_open_clips_own_and_travels_to_workers(tmp_path, mode, kind):
    settings = {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "resize_mode": mode,
        "interpolation": "bilinear",
    }
    folder = tiny_model(tmp_path / "m", preprocess=settings)
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = pickle.loads(pickle.dumps(load_encoder(str(folder)).preprocess()))
    generator = np.random.default_rng(0)
    for size in [(40, 60), (60, 40), (32, 32), (7, 5), (300, 10)]:
        image = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(kind)
        assert torch.equal(ours(image), transform(image))
        assert (ours(image).shape, ours(image).dtype) == ((3, 32, 32), torch.float32)
        pixels = ours.uint8(image)[None]
        assert (pixels.shape, pixels.dtype) == ((1, 3, 32, 32), torch.uint8)
        made = clip.scaled(pixels, settings["mean"], settings["std"], torch.float32)
        assert torch.equal(made[0], transform(image))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_of_bytes_are_those_of_the_pixels_that_they_stand_for(folder, precision):
    found = load_encoder(str(folder), precision=precision)
    generator = np.random.default_rng(0)
    images = [Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(5)]
    prepare = found.preprocess()
    pixels, whole = (torch.stack([each(image) for image in images]) for each in (prepare.uint8, prepare))
    assert torch.equal(found.encode_image(pixels), found.encode_image(whole))


def test_a_transform_of_other_steps_than_those_known_is_refused(monkeypatch):
    steps = open_clip.transform.image_transform(8, is_train=False).transforms
    other = open_clip.transform.Compose([*steps, open_clip.transform.Grayscale()])
    monkeypatch.setattr("open_clip.transform.image_transform_v2", lambda *_, **__: other)
    with pytest.raises(GeomclipError, match="prepares images in other steps than geomclip knows"):
        clip.Preprocess({"size": [8, 8], "mean": [0.5] * 3, "std": [0.5] * 3})


@pytest.mark.parametrize(("mode", "size"), [("shortest", (1, 60000)), ("longest", (300, 2))])
def test_an_image_too_elongated_to_resize_is_refused(tmp_path, mode, size):
    preprocess = load_encoder(str(tiny_model(tmp_path / "m", preprocess={"resize_mode": mode}))).preprocess()
    for prepare in (preprocess, preprocess.uint8):
        with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels: too elongated"):
            prepare(Image.new("RGB", size))


def test_made_from_is_json_and_complete(encoder):
    made = json.loads(json.dumps(encoder.made_from()))
    fields = {field.name for field in dataclasses.fields(Encoder)}
    hidden = {"module", "model_cfg", "tokenizer", "tokenizer_source", "shift", "finetuned"}
    assert set(made) == fields - hidden | {"open_clip", "fingerprint"}


def test_the_fingerprint_tells_activations_and_image_sizes_apart(encoder, folder, tmp_path):
    assert load_encoder(str(folder)).fingerprint() == encoder.fingerprint()
    for change in ({"quick_gelu": True}, {"vision_cfg": CONFIG["vision_cfg"] | {"head_width": 8}}):
        other = tiny_model(tmp_path / next(iter(change)), weights=False, **change)
        save_file(encoder.module.state_dict(), other / "open_clip_model.safetensors")
        found = load_encoder(str(other))
        assert found.weights_sha256 == encoder.weights_sha256
        assert found.fingerprint() != encoder.fingerprint()


# tokens


@pytest.mark.parametrize("words", range(14))
def test_a_text_is_called_cut_exactly_when_it_does_not_fit(encoder, words):
    tokens, cut = encoder.tokenize(["dog " * words, "a cat"])
    assert cut.tolist() == [words > 10, False]  # 12 places, two for start and end
    assert torch.equal(tokens, encoder.tokenizer(["dog " * words, "a cat"]))


@pytest.mark.parametrize("words", range(12))
def test_a_text_with_token_zero_at_the_cut_is_judged_right(encoder, words):
    text = "dog " * words + "!?!?!"  # "!" before another sign is token 0, which is the padding too
    assert encoder.tokenizer.encode("!?!?!")[0] == 0
    tokens, cut = encoder.tokenize([text])
    assert cut.tolist() == [words + 2 > 10]
    assert torch.equal(tokens, encoder.tokenizer([text]))


def test_a_text_that_spells_the_end_token_is_cut_there(encoder):
    texts = ["a <end_of_text> dog", "a dog <end_of_text>", "a dog", "<end_of_text>cat", "a <start_of_text> dog", ""]
    _, cut = encoder.tokenize(texts)
    assert cut.tolist() == [True, False, False, True, False, False]
    rows = [encoder.encode_text(encoder.tokenize([text])[0]) for text in ("a <end_of_text> dog", "a")]
    assert torch.allclose(*rows, atol=1e-5)  # what follows the token is not read


@pytest.mark.parametrize(
    ("close", "pad", "expected"),
    [
        ([3], 0, [True, False]),  # BERT's and T5's: the end token, then padding
        ([3], 3, [False, False]),  # SigLIP's pads with its end token and reads all places
        ([], 0, [False, False]),  # no end token at all
    ],
)
def test_the_end_token_is_found_by_what_closes_a_text(close, pad, expected):
    words = {"1": 4, "a": 5, "dog": 6, "</s>": 3}

    def tokenizer(texts, context_length):
        rows = [[2, *map(words.get, text.split()), *close] for text in texts]
        if pad == 3:
            rows = [row[1:] for row in rows]
        return torch.tensor([row + [pad] * (context_length - len(row)) for row in rows])

    _, cut = clip.tokenize(tokenizer, ["a </s> dog", "a dog"], 9)
    assert cut.tolist() == expected


def test_cut_agrees_with_the_length_of_the_encoding(encoder):
    generator = np.random.default_rng(0)
    letters = list("abc !?!!.,é漢😀&;'\"   ")
    texts = ["".join(generator.choice(letters, size=generator.integers(0, 40))) for _ in range(300)]
    tokens, cut = encoder.tokenize(texts)
    assert cut.tolist() == [len(encoder.tokenizer.encode(text)) + 2 > 12 for text in texts]
    assert torch.equal(tokens, encoder.tokenizer(texts))
    assert 50 < int(cut.sum()) < 250


def test_a_caption_of_a_million_characters_is_cut_at_once(encoder):
    started = time.monotonic()
    tokens, cut = encoder.tokenize(["ab" * 500_000, "a dog " * 160_000, " " * 10**6])
    assert time.monotonic() - started < 5
    assert (cut.tolist(), tokens.shape) == ([True, True, False], (3, 12))
    assert torch.equal(tokens[1], encoder.tokenizer(["a dog " * 10])[0])


def test_encoders_that_want_one_tokenizer_share_it_and_no_others_do(folder, encoder, tmp_path):
    assert load_encoder(str(folder), pretrained="random").tokenizer is encoder.tokenizer
    for name, change in (
        ("longer", {"context_length": 13}),
        ("cleaned", {"tokenizer_kwargs": {"clean": "whitespace"}}),
    ):
        text = {**CONFIG["text_cfg"], **change}
        other = load_encoder(str(tiny_model(tmp_path / name, weights=False, text_cfg=text)), pretrained="random")
        assert other.tokenizer is not encoder.tokenizer
        expected = open_clip.tokenizer.SimpleTokenizer(
            context_length=text["context_length"], **text.get("tokenizer_kwargs", {})
        )
        assert torch.equal(other.tokenize(["A  Dog"])[0], expected(["A  Dog"]))


def test_no_texts_give_no_tokens(encoder):
    tokens, cut = encoder.tokenize([])
    assert (tokens.shape, tokens.dtype, cut.shape) == ((0, 12), torch.int64, (0,))


class EndsWithItsPadding:
    """SigLIP's tokenizer in small: words are numbers, 1 both ends a text and pads it on the right."""

    def __call__(self, texts, context_length):
        rows = [[int(w) for w in t.split()][: context_length - 1] for t in texts]
        return torch.tensor([row + [1] * (context_length - len(row)) for row in rows])


class ClassTokenLast:
    """CLIPS in small: start, words, end, padding, and the class token in the last place."""

    def __call__(self, texts, context_length):
        rows = [[8, *[int(w) for w in t.split()][: context_length - 3], 9] for t in texts]
        return torch.tensor([row + [0] * (context_length - 1 - len(row)) + [7] for row in rows])


class PadsOnTheLeft:
    """Padding before the text, the end token in the last place."""

    def __call__(self, texts, context_length):
        rows = [[int(w) for w in t.split()][: context_length - 1] for t in texts]
        return torch.tensor([[0] * (context_length - 1 - len(row)) + row + [9] for row in rows])


class HasNoEnd:
    """Words and padding, no end token: a text that was cut looks like one that just fits."""

    def __call__(self, texts, context_length):
        rows = [[int(w) for w in t.split()][:context_length] for t in texts]
        return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])


@pytest.mark.parametrize(
    ("tokenizer", "room"), [(HasNoEnd(), 8), (EndsWithItsPadding(), 7), (ClassTokenLast(), 5), (PadsOnTheLeft(), 7)]
)
def test_cut_is_right_for_tokenizers_that_pad_in_other_ways(tokenizer, room):
    texts = [" ".join("5" * words) for words in range(20)]
    tokens, cut = clip.tokenize(tokenizer, texts, 8)
    assert cut.tolist() == [words > room for words in range(20)]
    assert torch.equal(tokens, tokenizer(texts, context_length=8))


# other towers


def test_a_siglip_like_model_has_its_bias(tmp_path):
    text = CONFIG["text_cfg"] | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    folder = tiny_model(
        tmp_path / "siglip",
        custom_text=True,
        init_logit_bias=-10.0,
        init_logit_scale=math.log(10),
        text_cfg=text,
    )
    found = load_encoder(str(folder))
    assert (found.logit_bias, found.logit_scale) == (-10.0, pytest.approx(10, rel=1e-6))
    rows = found.encode_text(found.tokenize(["a", "b"])[0])
    assert rows.shape == (2, 16)
    assert not torch.equal(rows[0], rows[1]) or text["pool_type"] == "last"


def test_weights_without_a_bias_in_a_model_with_one_are_noted(encoder, tmp_path):
    folder = tiny_model(tmp_path / "bias", weights=False, init_logit_bias=-10.0)
    save_file(encoder.module.state_dict(), folder / "open_clip_model.safetensors")
    found = load_encoder(str(folder))
    assert found.logit_bias == 0
    assert found.notes == ("open_clip_model.safetensors has no logit_bias, which custom has: 0 is taken",)


COCA = {
    "vision_cfg": CONFIG["vision_cfg"] | {"attentional_pool": True, "output_tokens": True, "attn_pooler_heads": 2},
    "text_cfg": CONFIG["text_cfg"] | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    "custom_text": True,
}


def test_a_coca_model_encodes_unnormalised_rows(tmp_path):
    found = load_encoder(str(tiny_model(tmp_path / "coca", **COCA)))
    image = found.encode_image(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    text = found.encode_text(found.tokenize(["a dog", "a cat"])[0])
    assert image.shape == text.shape == (2, 16)
    assert (image.norm(dim=1) - 1).abs().min() > 1e-3


def test_weights_that_open_clip_never_fills_are_the_same_each_time():
    # of memory as it comes, a third of CoCa's text_decoder.text_projection was NaN
    modules = []
    for _ in range(3):
        dirty = torch.full((790528,), float("nan"))  # freed at once, and likely to be handed out again
        del dirty
        modules.append(towers.build(CONFIG | COCA, {}, seed=0, where=""))
    assert len({fitting.weights_sha256(module.state_dict()) for module in modules}) == 1


TIMM = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
RESIDUAL = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 8}


@pytest.mark.parametrize(("vision", "side"), [(TIMM, 160), (RESIDUAL, 32)])
def test_a_timm_tower_and_a_residual_tower_encode(tmp_path, vision, side):
    found = load_encoder(str(tiny_model(tmp_path / "m", vision_cfg=vision)))
    assert found.preprocessing["size"] == [side, side]
    rows = found.encode_image(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert rows.shape == (2, 16)
    assert load_encoder(str(tmp_path / "m"), precision="bf16").precision == "bf16"


@pytest.mark.parametrize("text", [{"hf_tokenizer_name": "x"}, {"hf_tokenizer_name": "x", "hf_model_name": "/tmp"}])
def test_a_model_that_needs_transformers_says_so(tmp_path, monkeypatch, text):
    find = towers.importlib.util.find_spec
    absent = lambda name, *rest: None if name == "transformers" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(towers.importlib.util, "find_spec", absent)
    monkeypatch.setattr("open_clip.hf_model.transformers", None)
    folder = tiny_model(tmp_path / "hf", weights=False, text_cfg=CONFIG["text_cfg"] | text)
    with pytest.raises(NotAvailableError, match="needs the transformers package: pip install transformers"):
        load_encoder(str(folder), pretrained="random")


def test_a_tokenizer_of_transformers_is_read_and_its_cuts_seen(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "cat"])}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    core.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    folder = tiny_model(tmp_path / "hf", text_cfg=CONFIG["text_cfg"] | {"hf_tokenizer_name": "org/absent"})
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    tokens, cut = load_encoder(str(folder)).tokenize(["dog " * words for words in range(14)])
    assert tokens.shape == (14, 12)
    assert cut.tolist() == [words > 10 for words in range(14)]


# precision and device


def test_bf16_converts_the_whole_model_and_says_what_it_changes(folder, encoder):
    lower = load_encoder(str(folder), precision="bf16")
    assert {p.dtype for p in lower.module.parameters()} == {torch.bfloat16}
    assert (lower.precision, lower.weights_sha256) == ("bf16", encoder.weights_sha256)
    assert lower.logit_scale == encoder.logit_scale
    assert any(note.startswith("bf16: cosines of a probe") for note in lower.notes)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = lower.encode_image(pixels)
    assert rows.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(rows, encoder.encode_image(pixels))
    assert cosine.min() > 0.999
    assert cosine.max() < 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [("flags : sse2 avx512_bf16", "bf16"), ("Features : asimd bf16", "bf16"), ("flags : avx2 fma", "fp32")],
)
def test_auto_takes_bf16_where_the_processor_has_it(monkeypatch, words, expected):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: words)
    assert clip.choose_precision("auto", "cpu") == expected
    assert clip.choose_precision("auto", "cuda:0") == "fp16"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "fp16"}, InputError, "precision='fp16' needs a GPU"),
        ({"precision": "amp"}, InputError, "unknown precision 'amp'"),
        ({"device": "tpu"}, InputError, "unknown device 'tpu'"),
        ({"device": "cuda:x"}, InputError, "unknown device 'cuda:x'"),
        ({"device": "cuda:99"}, NotAvailableError, r"device='cuda:99': torch .* sees \d+ GPUs here"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_before_anything_is_loaded(options, error, message):
    with pytest.raises(error, match=message):
        load_encoder("no such model", **options)


def test_rows_that_overflow_are_not_passed_on(encoder):
    broken = dataclasses.replace(
        encoder, precision="bf16", module=towers.build(CONFIG, {}, seed=0, where="").bfloat16()
    )
    broken.module.visual.proj.data.fill_(float("inf"))
    with pytest.raises(GeomclipError, match="bf16 overflows here, use precision='fp32'"):
        broken.encode_image(torch.ones(1, 3, 32, 32))


# weights files


def test_the_fingerprint_of_weights_is_the_same_whatever_the_file(folder, encoder, tmp_path):
    state = load_file(folder / "open_clip_model.safetensors")
    shuffled = dict(sorted(state.items(), reverse=True))
    torch.save(shuffled, tmp_path / "a.pt")
    torch.save({"state_dict": state}, tmp_path / "b.bin", _use_new_zipfile_serialization=False)
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "c.safetensors")
    for name in ("a.pt", "b.bin", "c.safetensors"):
        found = load_encoder(str(folder), pretrained=str(tmp_path / name))
        assert (found.weights_sha256, found.pretrained) == (encoder.weights_sha256, name)


def test_weights_stored_in_half_precision_have_their_own_fingerprint_once(folder, encoder, tmp_path):
    half = {name: value.half() for name, value in encoder.module.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    save_file({name: value.float() for name, value in half.items()}, tmp_path / "full.safetensors")
    first, second = (load_encoder(str(folder), pretrained=str(tmp_path / f"{n}.safetensors")) for n in ("half", "full"))
    assert first.weights_sha256 == second.weights_sha256 != encoder.weights_sha256


def test_one_changed_bit_changes_the_fingerprint(encoder):
    state = {name: value.clone() for name, value in encoder.module.state_dict().items()}
    state["visual.proj"].view(torch.int32)[0, 0] ^= 1
    assert fitting.weights_sha256(state) != encoder.weights_sha256


def test_a_checkpoint_of_another_architecture_names_the_first_difference(folder, tmp_path):
    wide = tiny_model(tmp_path / "wide", vision_cfg=CONFIG["vision_cfg"] | {"width": 64})
    with pytest.raises(
        InputError, match=r"visual\.class_embedding is \(64,\) in the file, \(32,\) in custom"
    ) as caught:
        load_encoder(str(folder), pretrained=str(wide / "open_clip_model.safetensors"))
    assert str(wide) in str(caught.value)
    deep = tiny_model(tmp_path / "deep", vision_cfg=CONFIG["vision_cfg"] | {"layers": 3})
    with pytest.raises(InputError, match=r"visual\.transformer\.resblocks\.2\.\S+ \(\d+,?.*\) is not in custom"):
        load_encoder(str(folder), pretrained=str(deep / "open_clip_model.safetensors"))
    with pytest.raises(InputError, match=r"visual\.transformer\.resblocks\.2\.\S+ \(\d+,?.*\) is missing"):
        load_encoder(str(deep), pretrained=str(folder / "open_clip_model.safetensors"))


def test_another_image_size_is_resized_and_noted(folder, tmp_path):
    large = tiny_model(tmp_path / "large", vision_cfg=CONFIG["vision_cfg"] | {"image_size": 64})
    found = load_encoder(str(folder), pretrained=str(large / "open_clip_model.safetensors"))
    assert found.notes == (
        "visual.positional_embedding resized from 65 to 17 places: the file was trained at another image "
        "size or context length",
    )


def test_a_file_without_architecture_is_told_what_fits(tmp_path):
    shapes = {
        "visual.conv1.weight": (768, 3, 32, 32),
        "visual.proj": (768, 512),
        "visual.positional_embedding": (50, 768),
        "text_projection": (512, 512),
    } | {f"{t}transformer.resblocks.{i}.ln_1.weight": (512,) for t in ("", "visual.") for i in range(12)}
    file = tmp_path / "mine.pt"
    torch.save({name: torch.zeros(shape, dtype=torch.int8) for name, shape in shapes.items()}, file)
    with pytest.raises(InputError, match=r"give it with arch; its shapes fit ViT-B-32, ViT-B-32-quickgelu$"):
        load_encoder(str(file))


def test_a_pickle_with_code_is_refused_and_not_run(folder, tmp_path):
    file, target = tmp_path / "evil.pt", tmp_path / "was-run"
    torch.save({"state_dict": {"visual.proj": RunsCode(target)}}, file)
    with pytest.raises(InputError, match="holds more than tensors, and loading it could run code") as caught:
        load_encoder(str(folder), pretrained=str(file))
    assert not target.exists()
    assert "\n" not in str(caught.value)


def test_a_torchscript_archive_is_refused(folder, tmp_path):
    file = tmp_path / "openai.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; old files were made by it
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(file))
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="TorchScript archive, which holds code"):
            load_encoder(str(folder), pretrained=str(file))
    assert not remarks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        ({"state_dict": {"a": 1}}, "entry 'a' of its state_dict is a int, not a tensor"),
        ({}, "holds no tensors"),
        ({"vision_model.x": torch.zeros(1)}, "layout of transformers"),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused(folder, tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=message):
        load_encoder(str(folder), pretrained=str(tmp_path / "odd.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, encoder, tmp_path, value):
    state = {name: tensor.clone() for name, tensor in encoder.module.state_dict().items()}
    state["visual.ln_post.weight"][3] = value
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match=r"1 of the 32 weights of visual\.ln_post\.weight are NaN or infinite"):
        load_encoder(str(folder), pretrained=str(tmp_path / "bad.safetensors"))


def test_metadata_of_another_version_or_cut_short_are_refused(encoder, tmp_path):
    good = json.loads(metadata(encoder, {})["geomclip"])
    for change, message in (
        ({"schema": "geomclip.checkpoint/9"}, "schema 'geomclip.checkpoint/9', this version reads"),
        ({"model_cfg": {"embed_dim": 16}}, "'model_cfg' has no 'vision_cfg'"),
        ({"preprocess_cfg": 3}, "metadata are incomplete"),
    ):
        file = tmp_path / "best.safetensors"
        save_file({"a": torch.zeros(1)}, file, metadata={"geomclip": json.dumps(good | change)})
        with pytest.raises(InputError, match=message):
            load_encoder(str(file))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_cut_short_or_damaged_is_one_clear_line(folder, encoder, tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    state = {name: value.clone() for name, value in encoder.module.state_dict().items()}
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    content = whole.read_bytes()
    file = tmp_path / f"damaged{suffix}"
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged or cut short") as caught:
            load_encoder(str(folder), pretrained=str(file))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_damaged_bytes_never_raise_anything_but_an_input_error(tmp_path, suffix):
    generator = np.random.default_rng(0)
    state = {"visual.proj": torch.zeros(4, 4), "logit_scale": torch.tensor(1.0)}
    whole, file = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    content = np.frombuffer(whole.read_bytes(), dtype=np.uint8)
    refusals = []
    for _ in range(300):
        damaged = content.copy()
        places = generator.integers(0, min(len(content), 600), size=generator.integers(1, 8))
        damaged[places] = generator.integers(0, 256, size=len(places))
        file.write_bytes(damaged.tobytes())
        try:
            contents.read_contents(file)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 30
    assert not any("\n" in refusal for refusal in refusals)


def test_a_name_that_is_no_weights_file_is_refused(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"must end in one of \.safetensors"):
        load_encoder(str(folder), pretrained=str(tmp_path / "notes.txt"))
    with pytest.raises(NotAvailableError, match="no such file"):
        load_encoder(str(folder), pretrained=str(tmp_path / "absent.pt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_cfg": {"embed_', "cannot be read as JSON"),
        ("[]", "has no 'model_cfg'"),
        ('{"model_cfg": 3}', "'model_cfg' is not an object"),
        ('{"model_cfg": {"embed_dim": "a", "vision_cfg": {}, "text_cfg": {}}}', "no 'embed_dim' of type int"),
        (
            '{"model_cfg": {"embed_dim": 8, "vision_cfg": {"depth": 2}, "text_cfg": {}}}',
            "open_clip cannot use it",
        ),
        (
            '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": 1}',
            "not an object",
        ),
    ],
)
def test_a_configuration_that_cannot_be_built_is_one_line(tmp_path, text, message):
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(f"local-dir:{tmp_path}", pretrained="random")
    assert "\n" not in str(caught.value)


def test_a_folder_with_no_or_several_weights_is_refused(tmp_path):
    folder = tiny_model(tmp_path / "m", weights=False)
    with pytest.raises(NotAvailableError, match="has no weights file"):
        load_encoder(str(folder))
    for name in ("a.pt", "b.pt"):
        torch.save({}, folder / name)
    with pytest.raises(NotAvailableError, match=r"several weights files \(a\.pt, b\.pt\)"):
        load_encoder(str(folder))


def test_an_absent_demo_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(names, "DEMO_FOLDER", tmp_path / "absent")
    with pytest.raises(NotAvailableError, match="the demo model is not part of this installation"):
        load_encoder("demo")


def test_importing_the_encoders_does_not_import_open_clip():
    import subprocess
    import sys

    code = "import sys, geomclip.encoders; print({'open_clip', 'torchvision', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_a_full_size_model_is_built_hashed_and_encodes(tmp_path):
    found = load_encoder("ViT-B/32", pretrained="random")
    assert activations(found.module) == {QuickGELU}
    assert (found.dim, found.context_length, found.preprocessing["size"]) == (512, 77, [224, 224])
    started = time.monotonic()
    assert fitting.weights_sha256(found.module.state_dict()) == found.weights_sha256
    assert time.monotonic() - started < 5
    assert found.encode_image(torch.zeros(1, 3, 224, 224)).shape == (1, 512)
    file = tmp_path / "own.safetensors"
    save_file(found.module.state_dict(), file)
    assert load_encoder("ViT-B/32", pretrained=str(file)).fingerprint() == found.fingerprint()
    with pytest.raises(InputError, match="its shapes fit ViT-B-32, ViT-B-32-quickgelu"):
        load_encoder("ViT-B-16", pretrained=str(file))
