"""The options of the commands, in groups that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geomclip.pairs.source import Source
from geomclip.panels.options import Measuring
from geomclip.training.settings import Settings


def text(flag: str, metavar: str, help: str, default: str | None = None) -> click.Option:
    """An option that takes a word."""
    return click.Option([flag], metavar=metavar, default=default, help=help)


def path(flag: str, metavar: str, help: str, **more: Any) -> click.Option:
    """An option that names a file or folder."""
    return click.Option([flag], type=click.Path(path_type=Path), metavar=metavar, help=help, **more)


def whole(flag: str, help: str, *, at_least: int, default: int | None = None) -> click.Option:
    """An option that takes a whole number."""
    return click.Option([flag], type=click.IntRange(min=at_least), metavar="N", default=default, help=help)


def positive(flag: str, metavar: str, help: str) -> click.Option:
    """An option that takes a number above 0."""
    return click.Option([flag], type=click.FloatRange(min=0, min_open=True), metavar=metavar, help=help)


def number(flag: str, metavar: str, help: str) -> click.Option:
    """An option that takes a number; where it is used says which are allowed."""
    return click.Option([flag], type=float, metavar=metavar, help=help)


def choice(flag: str, values: list[str], help: str, default: str | None = None) -> click.Option:
    """An option that takes one of a few words."""
    return click.Option([flag], type=click.Choice(values), default=default, help=help)


def switch(flag: str, help: str, *names: str) -> click.Option:
    """An option that takes no value."""
    return click.Option([flag, *names], is_flag=True, help=help)


def measured(*options: click.Option) -> list[click.Option]:
    """The options with the defaults that `Measuring` has for them."""
    for option in options:
        option.default = getattr(Measuring, option.name or "", option.default)
    return list(options)


PRETRAINED = text("--pretrained", "TAG", "Weights, as open_clip names them; random: untrained, for tests.")
ARCH = text("--arch", "NAME", "open_clip architecture of a checkpoint file given as --model.")
WEIGHTS = [
    PRETRAINED,
    ARCH,
    choice("--precision", ["fp32", "bf16", "fp16", "auto"], "auto: the fastest here; says the drift.", "fp32"),
    text("--device", "NAME", "cpu, cuda, cuda:N, or auto: the GPU if there is one.", "cpu"),
]
MODEL = [text("--model", "NAME", "`geomclip models` lists the names.", "demo"), *WEIGHTS]
DATA_ROOT = path("--data-root", "FOLDER", "Where data sets lie; default the cache's data folder.")
LIMIT = whole("--limit", "Only the first N images.", at_least=2)
IMAGE_ID_COLUMN = text("--image-id-column", "NAME", "Rows with one value in it are captions of one image.")
DATA = [  # each is a field of Source
    text("--data", "NAME", "`geomclip data` lists the names.", Source.data),
    text("--split", "NAME", "Default: test if the set has one, else val."),
    DATA_ROOT,
    LIMIT,
    text("--image-column", "NAME", "Of csv, tsv, jsonl, parquet.", Source.image_column),
    text("--text-column", "NAME", "Of csv, tsv, jsonl, parquet.", Source.text_column),
    IMAGE_ID_COLUMN,
]
WORK = [
    whole("--batch-size", "Images at a time.", at_least=1, default=64),
    whole("--workers", "Threads that decode and encode; default: as many as pay.", at_least=0),
]
SEED = measured(whole("--seed", "Of random weights and resamples.", at_least=0))
CACHE = [path("--cache-dir", "FOLDER", "Weights, data, features; default $GEOMCLIP_CACHE or the user's cache.")]
DEBUG = [switch("--debug", "A traceback where something fails.")]
COMMON = [switch("--quiet", "No progress on stderr."), *DEBUG]
EMBEDDINGS = path("--embeddings", "PATH", "A store, .npz or .npy in place of a model and data.")
SCALE = [
    positive("--logit-scale", "S", "In place of the model's own."),
    positive("--temperature", "T", "The same as --logit-scale 1/T."),
]
METRICS, CAPTIONS, BY, BOOTSTRAP, DTYPE = measured(
    text("--metrics", "NAMES", "default, all, or names with commas between."),
    choice("--captions", ["all", "first"], "first: one text an image."),
    text("--by", "COLUMN", "A panel for each value of this column too (label, source)."),
    whole("--bootstrap", "Resamples for the intervals; 0: no intervals.", at_least=0),
    choice("--dtype", ["float32", "float64"], "Of the arithmetic."),
)
MEASURE = [
    EMBEDDINGS,
    *SCALE,
    METRICS,
    CAPTIONS,
    choice("--paper", ["oh2023"], "Add the numbers as the code of that paper computes them."),
    switch("--curves", "Add gap_shift_curve and gap_ablation_curve."),
    BY,
    BOOTSTRAP,
    DTYPE,
    path("--out", "FILE.json", "Write the result, and FILE.items.parquet beside it."),
    switch("--json", "Print the result as JSON, not as a table.", "as_json"),
]
PAGE = [
    switch("--no-thumbnails", "A page without small pictures of the images."),
    whole("--points", "Images and texts that a page draws and lists at most.", at_least=4, default=50_000),
]
AS_JSON = switch("--json", "Print the comparison as JSON, not as a table.", "as_json")
COMPARE = [
    *SCALE,
    METRICS,
    CAPTIONS,
    DTYPE,
    BY,
    BOOTSTRAP,
    switch("--intersect", "Compare what both have where their images or texts differ."),
    click.Option(
        ["--fail-if"],
        metavar="CONDITION",
        multiple=True,
        help="Exit 1 if 'KEY<NUMBER' (<= > >=) of the change, or 'KEY worse'; may be given again.",
    ),
    path("--out", "FILE", "Write the comparison: .json, .csv, .md, or .html (a page) by its name."),
    *PAGE,
    AS_JSON,
]
REPORT = [
    path("--out", "FILE.html", "The page.", default=Path("geomclip-report.html")),
    *PAGE,
    switch("--no-curves", "Leave the gap curves out."),
    *SCALE,
    METRICS,
    CAPTIONS,
    BY,
    BOOTSTRAP,
    DTYPE,
]
DRAWN = [  # what a picture is of
    EMBEDDINGS,
    text("--after", "SIDE", "A model, run folder, store or .npz of the same pairs: both on common axes."),
    switch("--intersect", "With --after: draw what both have where their images or texts differ."),
]
SPHERE = [
    *DRAWN,
    text("--method", "NAME", "dosnes or umap, on the sphere; `geomclip project` draws planes.", "dosnes"),
    CAPTIONS,
    click.Option(["--links/--no-links"], default=None, help="All pairs joined, or none; default an even share."),
    click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        multiple=True,
        help=".html, .png, .svg or .pdf; may be given again. Default geomclip-sphere.html and .png.",
    ),
]
ESTIMATOR = [
    whole("--neighbors", "Of umap and heat-geodesic: how many each point is joined to.", at_least=1),
    positive("--perplexity", "X", "Of tsne and dosnes: how many neighbours count."),
    number("--min-dist", "X", "Of umap: how close points may lie, 0 to 1."),
]
PROJECT = [
    *DRAWN,
    text("--method", "NAME", "svd, pca, umap, umap-sphere, tsne, dosnes or heat-geodesic.", "umap"),
    path("--out", "FILE", ".csv, .parquet, .npz or .json, picture beside; or .png, .svg, .pdf, .html, .csv beside."),
    CAPTIONS,
    whole("--components", "2, a plane, or 3, a space; default 2.", at_least=2),
    *ESTIMATOR,
]
STORE = [
    whole("--shard-rows", "Images a shard.", at_least=1, default=1024),
    switch("--raw", "Keep the lengths of the rows."),
]
EXTRACT = [path("--out", "STORE", "Folder of the store; an unfinished one is gone on with.", required=True), *STORE]
EXPORT = [
    click.Option(["--to"], type=click.Choice(["openclip", "hf"]), required=True, help="hf: transformers' CLIPModel."),
    path("--out", "FOLDER", "A new or empty folder.", required=True),
    text("--arch", "NAME", "open_clip architecture of a file that does not say its own."),
]
LISTED = [path("--data-root", "FOLDER", "Where data sets lie; default the cache's.")]
DOWNLOAD = [
    path("--data-root", "FOLDER", "Where to put it; default the cache's data folder."),
    text("--split", "NAME", "Of sets whose splits are fetched apart (coco: val or train)."),
]
METHODS = (
    "m2mix (default), ft, m3mix, vmix, lmix, vlmix, imix, unmix, hcl, cyclip, cua, cuaxu, siglip, lp-ft; "
    "wise-ft: a finished run and its base; es: no training."
)
RUN = [
    text("--method", "NAME", METHODS),
    path("--out", "FOLDER", "The run folder; default runs/METHOD-DATA-N."),
    switch("--resume", "Go on from the newest checkpoint of --out, with what it began with."),
    switch("--override", "With --resume: go on although settings differ."),
    *measured(text("--metrics", "NAMES", "Of before and after: default, all, or names.")),
    BOOTSTRAP,
    switch("--tensorboard", "Log to FOLDER/tensorboard too."),
    switch("--wandb", "Log to Weights & Biases too."),
    AS_JSON,
]
# those of MODEL and DATA without defaults: a resumed run has what it began with
FINETUNE_DATA = [
    text("--model", "NAME", "`geomclip models` lists the names; default demo."),
    PRETRAINED,
    ARCH,
    text("--data", "NAME", f"`geomclip data` lists the names; default {Source.data}."),
    text("--split", "NAME", "To report on; default: test if the set has one, else val."),
    number("--holdout", "SHARE", "Of a set without splits: that much for val, and again for test."),
    DATA_ROOT,
    LIMIT,
    text("--image-column", "NAME", f"Of csv, tsv, jsonl, parquet; default {Source.image_column}."),
    text("--text-column", "NAME", f"Of csv, tsv, jsonl, parquet; default {Source.text_column}."),
    IMAGE_ID_COLUMN,
]
# each is a field of Settings, which has their defaults and ranges; left out, they are None
_TRAINING = [
    whole("--seed", "Of all that is drawn.", at_least=0),
    whole("--batch-size", "Pairs a forward pass.", at_least=1),
    choice("--precision", ["fp32", "bf16", "auto"], "Of the passes; weights are float32."),
    text("--device", "NAME", "cpu, cuda, cuda:N, or auto: the GPU if there is one."),
    whole("--workers", "Threads that decode images; default: as many as pay.", at_least=0),
    choice("--preset", ["oh2023"], "The settings of that paper; other options go before it."),
    whole("--epochs", "How long; for demo 4.", at_least=1),
    whole("--steps", "End after N steps at the latest.", at_least=1),
    number("--lr", "X", "Learning rate, after warm-up; for demo 1e-4."),
    number("--weight-decay", "X", "Of matrices; gains and biases have none."),
    number("--warmup", "SHARE", "Of the steps."),
    number("--clip-norm", "X", "Of all gradients together; 0: none."),
    number("--layer-decay", "X", "Factor on the learning rate a layer further from the output."),
    number("--ema", "X", "Decay of averaged weights, which are then evaluated and kept."),
    whole("--accum-freq", "Forward passes a step; same gradients as one.", at_least=1),
    choice("--captions", ["one", "all"], "Per image and epoch: one drawn, or each in turn."),
    choice("--augment", ["none", "crop"], "crop: random parts of 90 to 100 %."),
    choice("--lock", ["image", "text"], "Leave this tower as it is."),
    whole("--lora", "Rank of low-rank adapters, merged at the end.", at_least=1),
    number("--lora-alpha", "X", "Their scale; default twice the rank."),
    choice("--mode", ["train", "eval"], "eval: dropout and batch statistics off."),
    number("--temperature", "T", "At the start, in place of the model's own."),
    click.Option(["--learn-temperature/--fix-temperature"], default=None, help="Default learn."),
    number("--temperature-m2", "T", "Of m2-mix."),
    click.Option(
        ["--weight", "weights"], type=str, multiple=True, metavar="TERM=X", help="m2_mix, v_mix, l_mix or vl_mix."
    ),
    number("--beta-m2", "B", "Lambda of m2-mix is drawn from Beta(B, B)."),
    number("--beta-mix", "B", "Lambda of v-mix and l-mix."),
    number("--beta-vl", "B", "Lambda of vl-mix."),
    switch("--per-sample", "One lambda a row, not one a batch."),
    choice("--partner", ["derangement", "flip"], "flip: the batch reversed."),
    choice("--vl-target", ["identity", "both"], "both: as the code of Oh et al. has it."),
    choice("--decay", ["epoch", "none"], "Of the mixed terms: 1/(epoch + 1), or none."),
    text("--val-metric", "KEYS", "Chooses the best weights; the mean of several."),
    whole("--eval-every", "Epochs between evaluations; 0: only at the end.", at_least=0),
    whole("--patience", "End after N evaluations without gain; 0: never.", at_least=0),
    whole("--save-every", "Steps between checkpoints; 0: only at the end.", at_least=0),
    whole("--probe-every", "Steps between looks at a fixed probe set; 0: never.", at_least=0),
    switch("--compile", "Compile the towers: a minute at the start, faster steps."),
    switch("--grad-checkpointing", "Less memory, more time."),
]


def with_default(option: click.Option) -> click.Option:
    """The option with the default of its setting in its help text, where that says something."""
    value = getattr(Settings(), option.name or "")
    if isinstance(value, dict):
        value = ", ".join(f"{term}={weight:g}" for term, weight in value.items())
    if value not in (None, "", 0) and not isinstance(value, bool):
        option.help = f"{option.help} Default {value}."
    return option


TRAINING = [with_default(option) for option in _TRAINING]
