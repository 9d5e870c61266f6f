"""Does a CoCa small enough for two cores learn to caption emoji, and what does m²-mix change of its captions?

    python analyses/captioning.py STUDY
    python analyses/captioning.py STUDY --report figures

The towers are those of the demo model where they fit; what pools the image, the class token of the text and the decoder
begin at random. Each method has the same steps on emoji/train, contrastive terms and twice the caption loss; captions of
the test split, whose concepts training has not seen, are scored by `geomclip evaluate --task captioning`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import open_clip
import torch

from geomclip.pairs import Pairs
from geomclip.pairs.emoji import emoji_pairs

CONTEXT = 16
DEMOS = {"[PAD]": 0, "[UNK]": 0, "[CLS]": 49406, "[SEP]": 49407, "[MASK]": 0}
SPECIAL = tuple(DEMOS)
TOKENIZER = open_clip.SimpleTokenizer()
METHODS = ("ft", "m2mix")
CAPTION_WEIGHT = 2.0  # beside 1 for the contrastive term, as open_clip's defaults have it


def model_of(words: int) -> dict[str, Any]:
    """The configuration: the demo's towers, the image pooled to 16 tokens, a decoder of two layers."""
    text = {"context_length": CONTEXT, "vocab_size": words, "width": 128, "heads": 4, "layers": 2}
    vision = {"image_size": 64, "layers": 5, "width": 160, "head_width": 40, "patch_size": 8, "patch_dropout": 0.5}
    pooled = {"attentional_pool": True, "attn_pooler_queries": 16, "attn_pooler_heads": 4, "output_tokens": True}
    return {
        "embed_dim": 128,
        "custom_text": True,
        "vision_cfg": {**vision, **pooled},
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True, "hf_tokenizer_name": "words of emoji"},
        "multimodal_cfg": text,
    }


def start_of(folder: Path) -> str:
    """The name of the untrained CoCa, whose files are made where there are none.

    Its tokens are the words of the training captions: a decoder of CLIP's 49,408 takes four times as long.
    """
    from safetensors.torch import save_file
    from transformers import BertTokenizerFast

    from geomclip.encoders import load_encoder, towers

    weights = folder / "open_clip_model.safetensors"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [*SPECIAL, *words_of(emoji_pairs("train"))]
        BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
        demo, model = load_encoder("demo"), model_of(len(words))
        state = towers.build(model, demo.preprocessing, seed=0, where="the small CoCa").state_dict()
        for stored, value in demo.module.state_dict().items():
            name = stored if stored.startswith(("visual.", "logit_scale")) else f"text.{stored}"
            if name == "text.positional_embedding":
                state[name][: len(value)] = value  # the class token has a place of its own behind
            elif name == "text.token_embedding.weight":
                state[name] = torch.stack([value[tokens_of_demo(word)].mean(dim=0) for word in words])
            elif name in state and state[name].shape == value.shape:
                state[name] = value
        config = {"model_cfg": model, "preprocess_cfg": dict(demo.preprocessing)}
        (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
        save_file({name: value.contiguous() for name, value in state.items()}, weights)
    return f"local-dir:{folder}"


def words_of(pairs: Pairs) -> list[str]:
    """The words of captions and their punctuation, each once, as BERT's tokenizer cuts them."""
    texts, _ = pairs.texts()
    plain = (unicodedata.normalize("NFD", text.lower()) for text in texts)
    bare = ("".join(each for each in text if unicodedata.category(each) != "Mn") for text in plain)
    return sorted({word for text in bare for word in re.findall(r"[^\W_]+|[^\s\w]|_", text)})


def tokens_of_demo(word: str) -> list[int]:
    """The tokens that the demo model has for a word; its end of text for what is none."""
    return TOKENIZER.encode(word) if word not in DEMOS else [DEMOS[word]]


def train(study: Path, method: str, *, steps: int, batch_size: int, lr: float, seed: int) -> Path:
    """The run of a method, made or gone on with."""
    from geomclip.training.finetune import finetune

    run = study / f"{method}-{seed}"
    finetune(
        method,
        start_of(study / "start"),
        "emoji",
        out=run,
        resume=run.exists(),
        cache_dir=study / "cache",
        bootstrap=0,
        metrics="text_retrieval_recall@1,image_retrieval_recall@1",
        steps=steps,
        epochs=10**6,
        batch_size=batch_size,
        lr=lr,
        weight_decay=0.5,
        augment="crop",
        temperature=0.07,
        caption_weight=CAPTION_WEIGHT,
        eval_every=0,
        save_every=100,
        probe_every=0,
        seed=seed,
    )
    return run
