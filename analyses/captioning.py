"""Does a CoCa small enough for two cores learn to caption emoji, and what does m²-mix change of its captions?

    python analyses/captioning.py STUDY

made figures/captioning.md, in six minutes of one core. The towers are those of the demo model where they fit; what
pools the image, the class token of the text and the decoder begin at random. Each method has the same steps on the
concepts of emoji/train, with contrastive terms and twice the caption loss; captions of the test split, whose concepts
training has not seen, are scored as `geomclip evaluate --task captioning` does.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch

from geomclip.pairs import Pairs
from geomclip.pairs.emoji import emoji_pairs
from geomclip.panels.chosen import label
from geomclip.panels.record import Panel

CONTEXT = 16
DEMOS = {"[PAD]": 0, "[UNK]": 0, "[CLS]": 49406, "[SEP]": 49407, "[MASK]": 0}
SPECIAL = tuple(DEMOS)
TOKENIZER = open_clip.SimpleTokenizer()
METHODS = ("ft", "m2mix")
EVERY = 50  # steps that the table of losses takes together
KEYS = (
    *("caption_cider_d", "caption_frequent_cider_d", "caption_human_cider_d", "caption_rouge_l", "caption_bleu@1"),
    *("caption_bleu@4", "caption_retrieval_recall@1", "caption_distinct", "caption_most_common", "caption_length"),
)
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
        words = [*SPECIAL, *words_of(concepts("train"))]
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


def concepts(split: str) -> Pairs:
    """One neutral picture a concept, and no flags, as val and test have them.

    With all variants most captions are of skin tones and flags, and that is what is learned: CIDEr-D on test was 0.03.
    """
    pairs = emoji_pairs(split)
    known = [(pair, dict(pair.columns)) for pair in pairs.pairs]
    kept = [pair for pair, of in known if pair.image_id == of["concept"] and not of["subgroup"].endswith("flag")]
    return replace(pairs, pairs=kept)


def table_of(study: Path) -> str:
    """The name of the data as files, made where they are not there."""
    from finetune_methods import write_table

    file = study / "concepts.csv"
    if not file.exists():
        write_table(file, {split: list(concepts(split).pairs) for split in ("train", "val", "test")})
    return f"csv:{file}"


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
        table_of(study),
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
        layer_decay=0.7,  # what the demo's towers know of pictures is kept
        augment="crop",
        temperature=0.07,
        caption_weight=CAPTION_WEIGHT,
        eval_every=0,
        save_every=100,
        probe_every=0,
        seed=seed,
    )
    return run


def report(study: Path, runs: dict[str, Path], out: Path) -> None:
    """Scores of the test split as a table, the difference that m²-mix makes, and the loss of a token while training."""
    import geomclip as gc
    from geomclip.training.watching.journal import read_log

    how = {"cache_dir": study / "cache", "max_tokens": CONTEXT}
    panels = {name: gc.evaluate("captioning", str(run), "emoji", **how) for name, run in runs.items()}
    for name, panel in panels.items():
        panel.save(study / f"{name}.json")
    lines = ["| | " + " | ".join(panels) + " |", "|---|" + "---|" * len(panels)]
    for key in KEYS:
        lines.append(f"| {label(key)} | {' | '.join(cell(panel, key) for panel in panels.values())} |")
    lines += ["", "| loss of a token, steps | " + " | ".join(runs) + " |", "|---|" + "---|" * len(runs)]
    losses = {
        name: [record["terms"]["caption"] for record in read_log(run / "log.jsonl") if "terms" in record]
        for name, run in runs.items()
    }
    for first in range(0, min(map(len, losses.values())), EVERY):
        means = [sum(each[first : first + EVERY]) / len(each[first : first + EVERY]) for each in losses.values()]
        lines.append(f"| {first + 1} to {first + EVERY} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    if {"ft", "m2mix"} <= panels.keys():
        compared = gc.compare(panels["ft"], panels["m2mix"])
        lines += ["", "| m2mix − ft, paired by image | difference | 95 % interval |", "|---|---|---|"]
        for key in ("caption_cider_d", "caption_rouge_l", "caption_retrieval_recall@1"):
            row = compared[key]
            low, high = row.ci
            lines.append(f"| {label(key)} | {row.difference:+.3f} | {low:+.3f} to {high:+.3f} |")
    lines += ["", "| image | a person | " + " | ".join(runs) + " |", "|---|---|" + "---|" * len(runs)]
    pairs = emoji_pairs("test").pairs
    written = {name: panels[name].items["image"]["caption"] for name in runs}
    for place in range(0, len(pairs), len(pairs) // 12):
        said = " | ".join(each[place] for each in written.values())
        lines.append(f"| {pairs[place].image_id} | {pairs[place].first_text} | {said} |")
    (out / "captioning.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def cell(panel: Panel, key: str) -> str:
    """A number with its interval, where it has one."""
    value, ci = panel.values[key], panel.ci.get(key)
    assert value is not None
    return f"{value:.3f} ({ci[0]:.3f} to {ci[1]:.3f})" if ci else f"{value:.3f}"


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder for models and runs")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of captioning.md")
    args = parser.parse_args()
    args.study.mkdir(parents=True, exist_ok=True)
    how = {"steps": args.steps, "batch_size": args.batch_size, "lr": args.lr, "seed": args.seed}
    torch.set_num_threads(1)
    report(args.study, {method: train(args.study, method, **how) for method in args.methods}, args.out)


if __name__ == "__main__":
    main()
