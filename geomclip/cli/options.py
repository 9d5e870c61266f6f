"""The options of the commands, in groups that several commands share."""

from __future__ import annotations

import os
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from geomclip.cli.gates import OF_CHANGES, OF_RUNS, OF_VALUES, gates
from geomclip.cli.line_progress import LOG_EVERY
from geomclip.cli.outs import outs
from geomclip.machine import limits
from geomclip.machine.engines import ENGINES
from geomclip.machine.places import keep_paths
from geomclip.pairs.source import Source
from geomclip.panels.options import Measuring
from geomclip.training.settings import COUNT, Settings


def text(flag: str, metavar: str, help: str, default: str | None = None) -> click.Option:
    """An option that takes a word."""
    return click.Option([flag], metavar=metavar, default=default, help=help)


def path(flag: str, metavar: str, help: str, **more: Any) -> click.Option:
    """An option that names a file or folder."""
    return click.Option([flag], type=click.Path(path_type=Path), metavar=metavar, help=help, **more)


def whole(flag: str, help: str, *, at_least: int, default: int | None = None) -> click.Option:
    """An option that takes a whole number."""
    return click.Option([flag], type=click.IntRange(min=at_least), metavar="N", default=default, help=help)


class Within(click.IntRange):
    """A whole number, with its bounds in `--help`; its settings refuse another, as they refuse it in Python."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, whatever it is."""
        return click.INT.convert(value, param, ctx)


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


def measured(option: click.Option) -> click.Option:
    """The option with the default that `Measuring` has for it."""
    option.default = getattr(Measuring, option.name or "")
    return option


def raise_limits(context: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
    """Set the limits for as long as the command runs; its worker processes inherit them."""
    if values:
        before = os.environ.get(limits.VARIABLE)
        os.environ[limits.VARIABLE] = limits.raised(values)
        context.call_on_close(lambda: _restore(limits.VARIABLE, before))


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


PRETRAINED = text("--pretrained", "TAG", "Weights, as open_clip names them; of an adapter its base; random: untrained.")
ARCH = text("--arch", "NAME", "open_clip architecture of a weights file, index or folder as --model.")
PRECISION = choice("--precision", ["fp32", "bf16", "fp16", "auto"], "auto: the fastest here; says the drift.", "fp32")
DEVICE = text("--device", "NAME", "cpu, cuda, cuda:N, or auto: the GPU if there is one.", "cpu")
WEIGHTS = [PRETRAINED, ARCH, PRECISION, DEVICE]
MODEL = [text("--model", "NAME", "`geomclip models` lists the names.", "demo"), *WEIGHTS]
OWN = [
    text("--encoder", "MODULE:NAME", "Your own code in place of a model, also FILE.py:NAME; it is imported and run."),
    text("--encoder-name", "NAME", "What the rows of --encoder are known by in the cache; default: they are not kept."),
]
DATA_ROOT = path("--data-root", "FOLDER", "Where data sets lie; default the cache's data folder.")
LIMIT = whole("--limit", "Only the first N images.", at_least=2)
IMAGE_ROOT = path("--image-root", "FOLDER", "What paths in a table are relative to; default its folder.")
IMAGE_ID_COLUMN = text("--image-id-column", "NAME", "Rows with one value in it are captions of one image.")
DATA = [  # each is a field of Source
    text("--data", "NAME", "`geomclip data` lists the names.", Source.data),
    text("--split", "NAME", "Default: test if the set has one, else val."),
    DATA_ROOT,
    LIMIT,
    text("--image-column", "NAME", "Of csv, tsv, jsonl, parquet.", Source.image_column),
    text("--text-column", "NAME", "Of csv, tsv, jsonl, parquet.", Source.text_column),
    IMAGE_ID_COLUMN,
    IMAGE_ROOT,
    text("--query-column", "NAME", "Of tables of texts alone: queries, whose documents are in --text-column."),
]
WORK = [
    whole("--batch-size", "Images at a time.", at_least=1, default=64),
    whole("--workers", "Threads that decode and encode; default: as many as pay.", at_least=0),
]
SEED = [measured(whole("--seed", "Of random weights and draws.", at_least=0))]
CACHE = [path("--cache-dir", "FOLDER", "Weights, data, features; default $GEOMCLIP_CACHE or the user's cache.")]
DEBUG = [
    switch("--debug", "A traceback where something fails."),
    click.Option(
        ["--raise-limit"],
        metavar="NAME=N",
        multiple=True,
        expose_value=False,
        callback=raise_limits,
        help="Let files of others ask for more work; the refusal names the limit.",
    ),
]


def _keep_paths(context: click.Context, option: click.Parameter, keep: bool) -> None:
    if keep:
        context.with_resource(keep_paths())


KEEP_PATHS = [
    click.Option(
        ["--keep-paths"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_keep_paths,
        help="Write paths as they are named, and this machine's name; else the last part of those outside this folder.",
    )
]


def quiet(printed: str = "") -> click.Option:
    """The option that hides progress; `printed` is what is then left of the table of a command that has one."""
    return switch("--quiet", f"No progress on stderr; {printed} in place of the table." if printed else NO_PROGRESS)


NO_PROGRESS = "No progress on stderr."
QUIET = [quiet()]
LOGGED = [
    click.Option(
        ["--log-every"],
        type=click.IntRange(min=0),
        metavar="SECONDS",
        default=LOG_EVERY,
        help="Where stderr is no terminal: a line of progress as often; 0: none.",
    ),
]
PROGRESS = [*QUIET, *LOGGED]
COMMON = [*PROGRESS, *DEBUG]
STANDOUTS = [quiet("what stands out"), *LOGGED, *DEBUG]
VERDICT = [quiet("the verdict"), *LOGGED, *DEBUG]
"""Those of commands that print a table of a set, and one of a change."""
EMBEDDINGS = text(
    "--embeddings",
    "PATH",
    "A store, a file, pattern or folder of vectors (.npz, .npy, .parquet, .safetensors, .pt, .h5, ...), or "
    "image=FILE,text=FILE, in place of a model and data; also at addresses (https://, s3://, ...).",
)
COLUMNS = text("--columns", "ROLES", "What is what in such a file: image=NAME,text=NAME,caption=NAME,...")
SCALE = [
    positive("--logit-scale", "S", "In place of the model's own."),
    positive("--temperature", "T", "The same as --logit-scale 1/T."),
]
FULL = switch("--full", "Print every number, not the ten that answer.")
METRICS = measured(text("--metrics", "NAMES", "default, all, or names with commas between."))
CAPTIONS = measured(choice("--captions", ["all", "first"], "first: one text an image."))
BY = measured(text("--by", "COLUMN", "A panel for each value of this column too (label, source)."))
BOOTSTRAP = measured(
    whole("--bootstrap", "Draws where an interval takes them, as of ECE; 0: no intervals.", at_least=0)
)
SAMPLE_BLOCKS = measured(
    whole(
        "--sample-blocks",
        "Of a store too large for all pairs: estimate them from N blocks of 250 images, each with an error bar.",
        at_least=2,
    )
)
DTYPE = measured(choice("--dtype", ["float32", "float64"], "Of the arithmetic."))
NAMES = [
    click.Option(
        ["--name", "names"],
        metavar="NAME",
        multiple=True,
        help="What a side is called in place of its model or file: give it once a side, in order.",
    )
]
CITE = [switch("--cite", "Then print BibTeX of what all of it comes from.")]
PROCESSES = whole("--processes", "Of --engine, 2 if left out; --workers is then the threads of each.", at_least=1)
SWEEPERS = [
    choice("--engine", list(ENGINES), "Sweep in other processes, ray: of a cluster; the same numbers to the bit."),
    PROCESSES,
]
MEASURE = [
    EMBEDDINGS,
    COLUMNS,
    *SCALE,
    METRICS,
    CAPTIONS,
    choice("--paper", ["oh2023"], "Add the numbers as the code of that paper computes them."),
    switch("--curves", "Add gap_shift_curve and gap_ablation_curve."),
    BY,
    BOOTSTRAP,
    SAMPLE_BLOCKS,
    DTYPE,
    *SWEEPERS,
    *gates(OF_VALUES),
    *outs("Write the result: .json (FILE.items.parquet beside it), .csv, .md, .tex, or .html (a page) by its name"),
    text("--name", "NAME", "What tables and pages call it, in place of the model."),
    FULL,
    switch("--json", "Print the result as JSON, not as a table.", "as_json"),
    *CITE,
]
PAGE = [
    switch("--no-thumbnails", "A page without small pictures of the images."),
    whole("--points", "Images and texts that a page draws and lists at most.", at_least=4, default=50_000),
]
COLOR = text("--color", "COLUMN", "Colours by this column: label, source, or any other of the data.")
AS_JSON = switch("--json", "Print the comparison as JSON, not as a table.", "as_json")
CHECK = [switch("--json", "Print it as JSON, not as lines.", "as_json")]
COMPARE = [
    *SCALE,
    METRICS,
    CAPTIONS,
    DTYPE,
    BY,
    BOOTSTRAP,
    switch("--intersect", "Compare what both have where their images or texts differ."),
    click.Option(
        ["--primary"],
        metavar="KEYS",
        multiple=True,
        help="What the comparison is about, named before looking; default recall@1 both ways, or accuracy@1.",
    ),
    choice("--resample", ["gallery", "queries"], "Over other images as both, or other queries to this one.", "gallery"),
    *gates(OF_CHANGES),
    *outs("Write the comparison: .json, .csv, .md (of more than two these), .tex, or .html (a page) by its name"),
    *PAGE,
    FULL,
    *NAMES,
    AS_JSON,
    *CITE,
]
REPORT = [
    path("--out", "FILE.html", "The page.", default=Path("geomclip-report.html")),
    *PAGE,
    COLOR,
    switch("--no-curves", "Leave the gap curves out."),
    *SCALE,
    METRICS,
    CAPTIONS,
    BY,
    BOOTSTRAP,
    DTYPE,
]
PLAN = [
    click.Option(
        ["--width"],
        type=float,
        metavar="X",
        required=True,
        help="Wanted of the 95 % interval: its high end less its low end.",
    ),
    click.Option(
        ["--metric"],
        metavar="KEY",
        multiple=True,
        help="A number to plan for; may be given again. Default: recalls, accuracies and the gap.",
    ),
    switch("--json", "Print the plan as JSON, not as a table.", "as_json"),
]
PLANNED = [EMBEDDINGS, COLUMNS, *SCALE, CAPTIONS, BOOTSTRAP, DTYPE]  # how what is planned from is measured
DRAWN = [  # what a picture is of
    EMBEDDINGS,
    COLUMNS,
    text("--after", "SIDE", "A model, run folder, store or .npz of the same pairs: both on common axes."),
    switch("--intersect", "With --after: draw what both have where their images or texts differ."),
]
SPHERE = [
    *DRAWN,
    text("--method", "NAME", "angles, dosnes or umap, on the sphere; `geomclip project` draws planes.", "angles"),
    CAPTIONS,
    COLOR,
    click.Option(["--links/--no-links"], default=None, help="All pairs joined, or none; default an even share."),
    click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        multiple=True,
        help=".html, .png, .svg or .pdf; may be given again. Default geomclip-sphere.html and .png.",
    ),
    *NAMES,
    *CITE,
]
ESTIMATOR = [
    whole("--neighbors", "Of umap and heat-geodesic: how many each point is joined to.", at_least=1),
    positive("--perplexity", "X", "Of tsne and dosnes: how many neighbours count."),
    number("--min-dist", "X", "Of umap: how close points may lie, 0 to 1."),
]
PROJECT = [
    *DRAWN,
    text("--method", "NAME", "svd, pca, umap, umap-sphere, tsne, angles, dosnes or heat-geodesic.", "umap"),
    path("--out", "FILE", ".csv, .parquet, .npz or .json, picture beside; or .png, .svg, .pdf, .html, .csv beside."),
    CAPTIONS,
    COLOR,
    whole("--components", "2, a plane, or 3, a space; default 2.", at_least=2),
    *NAMES,
    *CITE,
    *ESTIMATOR,
]
STORE = [
    whole("--shard-rows", "Images a shard.", at_least=1, default=1024),
    switch("--raw", "Keep the lengths of the rows."),
]
ENGINE = [
    choice("--engine", list(ENGINES), "Make the shards in other processes, ray: of a cluster; the same bytes."),
    PROCESSES,
]
EXTRACT = [
    path("--out", "STORE", "Folder of the store; an unfinished one is gone on with.", required=True),
    *STORE,
    *ENGINE,
]
EXPORT = [
    click.Option(
        ["--to"],
        type=click.Choice(["openclip", "hf"]),
        required=True,
        help="hf: transformers' CLIPModel or SiglipModel.",
    ),
    path("--out", "FOLDER", "A new or empty folder.", required=True),
    text("--arch", "NAME", "open_clip architecture of a file that does not say its own."),
]
CARD = [
    path("--out", "FILE.md", "Where to write it; default README.md in RUN. Its pictures go beside it."),
    text("--name", "TEXT", "What the model is called; default the repository's, else the folder's name."),
    text("--license", "ID", "As the hub calls it: mit, apache-2.0; default that of the base where it is known."),
    switch("--sphere", "Draw the reported split before and after too: encoded again, or from the cache."),
    text("--push", "ORG/NAME", "Upload card, pictures and weights there, by the login of huggingface_hub."),
    switch("--private", "With --push: a repository that is made is private."),
    click.Option(
        ["--include"],
        metavar="FILE",
        multiple=True,
        help="With --push: a file of RUN to upload too, as after.json; may be given again.",
    ),
    switch("--dry-run", "With --push: list what would be uploaded, and upload nothing."),
]
LISTED = [path("--data-root", "FOLDER", "Where data sets lie; default the cache's.")]
DOWNLOAD = [
    path("--data-root", "FOLDER", "Where to put it; default the cache's data folder."),
    text("--split", "NAME", "Of sets whose splits are fetched apart (coco: val or train)."),
]
REPRODUCE = [
    click.Option(["--only"], metavar="ROW", multiple=True, help="A row by its name; may be given again."),
    click.Option(["--model"], metavar="NAME", multiple=True, help="Rows of this model; may be given again."),
    click.Option(["--data"], metavar="NAME", multiple=True, help="Rows of this data set; may be given again."),
    switch("--list", "Run nothing: say what would be run, what is here, and how to get the rest.", "listed"),
    path("--out", "FOLDER", "Where the result of each row is kept.", default=Path("runs/reproduce")),
    DATA_ROOT,
    LIMIT,
    DEVICE,
    PRECISION,
    BOOTSTRAP,
    switch("--json", "Print the table as JSON.", "as_json"),
]
METHODS = (
    "m2mix (default), ft, m3mix, vmix, lmix, vlmix, imix, unmix, hcl, cyclip, cua, cuaxu, geodesic, g2l, siglip, "
    "lp-ft; no training: wise-ft (a finished run and its base, or --between two), soup (--between several), es."
)
RUN = [
    text("--method", "NAME", METHODS),
    path("--out", "FOLDER", "The run folder; default runs/METHOD-DATA-N."),
    switch("--resume", "Go on from the newest checkpoint of --out, with what it began with."),
    switch("--override", "With --resume: go on although settings differ."),
    measured(text("--metrics", "NAMES", "Of before and after: default, all, or names.")),
    BOOTSTRAP,
    click.Option(
        ["--also"],
        metavar="NAME",
        multiple=True,
        help="Data that are not trained on, measured before and after; may be given again.",
    ),
    click.Option(
        ["--evaluate"],
        metavar="TASK[=DATA]",
        multiple=True,
        help="Then ask the base and the run a task of `geomclip evaluate`, its options behind it in quotes: "
        "'shift --corrupt noise'; may be given again.",
    ),
    text("--label-column", "NAME", "With --evaluate, of pairs: the column whose values are classes."),
    switch("--tensorboard", "Log to FOLDER/tensorboard too."),
    switch("--wandb", "Log to Weights & Biases too."),
    FULL,
    *gates(OF_RUNS),
    AS_JSON,
    *CITE,
]
# those of MODEL and DATA without defaults: a resumed run has what it began with
FINETUNE_DATA = [
    text("--model", "NAME", "`geomclip models` lists the names; default demo."),
    click.Option(
        ["--between"],
        metavar="NAME NAME ...",
        multiple=True,
        help="In place of --model, models whose weights wise-ft (two) or soup mixes; the first is before.",
    ),
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
    IMAGE_ROOT,
]


DEFAULTS = Settings()


def setting(of: Field[Any], defaults: Any = DEFAULTS) -> click.Option:
    """The option of a field of settings, which have its default and its values; not given, it is None."""
    flag, metavar = "--" + of.name.replace("_", "-"), of.metadata["metavar"]
    help, choices, kind = of.metadata["help"], of.metadata["one_of"], str(of.type).split(" ")[0]
    value = getattr(defaults, of.name)
    if value is True:
        return click.Option([f"{flag}/{flag.replace('learn', 'fix')}"], default=None, help=help)
    if value is False:
        return switch(flag, help)
    if kind.startswith("Mapping"):
        shown = ", ".join(f"{key}={each:g}" for key, each in value.items())
        one = [flag.removesuffix("s"), of.name]
        default = f" Default {shown}." if shown else ""
        return click.Option(one, type=str, multiple=True, metavar=metavar, help=f"{help}{default}")
    if value not in (None, "", 0):
        help = f"{help} Default {value}."
    if choices:
        return choice(flag, [each for each in choices if each], help)
    if kind == "int":
        low, high = of.metadata["within"]
        within = Within(low, high if high < COUNT[1] else None)  # what nobody reaches is no bound to read
        return click.Option([flag], type=within, metavar="N", help=help)
    return number(flag, metavar, help) if kind == "float" else text(flag, metavar, help)


TRAINING = [setting(each) for each in fields(Settings) if each.metadata.get("help")]
