"""The options of the commands, in groups that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


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


def choice(flag: str, values: list[str], help: str, default: str | None = None) -> click.Option:
    """An option that takes one of a few words."""
    return click.Option([flag], type=click.Choice(values), default=default, help=help)


def switch(flag: str, help: str, *names: str) -> click.Option:
    """An option that takes no value."""
    return click.Option([flag, *names], is_flag=True, help=help)


MODEL = [
    text("--model", "NAME", "`geomclip models` lists the names.", "demo"),
    text("--pretrained", "TAG", "Weights, as open_clip names them; random: untrained, for tests."),
    text("--arch", "NAME", "open_clip architecture of a checkpoint file given as --model."),
    choice("--precision", ["fp32", "bf16", "fp16", "auto"], "auto: the fastest here; says the drift.", "fp32"),
    text("--device", "NAME", "cpu, cuda, cuda:N, or auto: the GPU if there is one.", "cpu"),
]
DATA = [
    text("--data", "NAME", "`geomclip data` lists the names.", "emoji"),
    text("--split", "NAME", "Default: test if the set has one, else val."),
    path("--data-root", "FOLDER", "Where data sets lie; default the cache's data folder."),
    whole("--limit", "Only the first N images.", at_least=2),
    text("--image-column", "NAME", "Of csv, tsv, jsonl, parquet.", "filepath"),
    text("--text-column", "NAME", "Of csv, tsv, jsonl, parquet.", "title"),
    text("--image-id-column", "NAME", "Rows with one value in it are captions of one image."),
]
WORK = [
    whole("--batch-size", "Images at a time.", at_least=1, default=64),
    whole("--workers", "Processes that decode images; default: as many as pay.", at_least=0),
]
SEED = [whole("--seed", "Of random weights and resamples.", at_least=0, default=0)]
CACHE = [path("--cache-dir", "FOLDER", "Weights, data, features; default $GEOMCLIP_CACHE or the user's cache.")]
COMMON = [
    switch("--quiet", "No progress on stderr."),
    switch("--debug", "A traceback where something fails."),
]
MEASURE = [
    path("--embeddings", "PATH", "A store, .npz or .npy in place of a model and data."),
    positive("--logit-scale", "S", "In place of the model's own."),
    positive("--temperature", "T", "The same as --logit-scale 1/T."),
    text("--metrics", "NAMES", "default, all, or names with commas between.", "default"),
    choice("--captions", ["all", "first"], "first: one text an image.", "all"),
    choice("--paper", ["oh2023"], "Add the numbers as the code of that paper computes them."),
    switch("--curves", "Add gap_shift_curve and gap_ablation_curve."),
    text("--by", "COLUMN", "A panel for each value of this column too (label, source)."),
    whole("--bootstrap", "Resamples for the intervals; 0: no intervals.", at_least=0, default=1000),
    choice("--dtype", ["float32", "float64"], "Of the arithmetic.", "float32"),
    path("--out", "FILE.json", "Write the result, and FILE.items.parquet beside it."),
    switch("--json", "Print the result as JSON, not as a table.", "as_json"),
]
COMPARE = [
    *(option for option in MEASURE if option.name in ("metrics", "captions", "logit_scale", "temperature", "dtype")),
    *(option for option in MEASURE if option.name in ("by", "bootstrap")),
    switch("--intersect", "Compare what both have where their images or texts differ."),
    click.Option(
        ["--fail-if"],
        metavar="CONDITION",
        multiple=True,
        help="Exit 1 if 'KEY<NUMBER' (<= > >=) of the change, or 'KEY worse'; may be given again.",
    ),
    path("--out", "FILE", "Write the comparison: .json, .csv or .md by its name."),
    switch("--json", "Print the comparison as JSON, not as a table.", "as_json"),
]
EXTRACT = [
    path("--out", "STORE", "Folder of the store; an unfinished one is gone on with.", required=True),
    whole("--shard-rows", "Images a shard.", at_least=1, default=1024),
    switch("--raw", "Keep the lengths of the rows."),
]
EXPORT = [
    click.Option(["--to"], type=click.Choice(["openclip", "hf"]), required=True, help="hf: transformers' CLIPModel."),
    path("--out", "FOLDER", "A new or empty folder.", required=True),
    text("--arch", "NAME", "open_clip architecture of a file that does not say its own."),
]


def names(*groups: list[click.Option]) -> list[str]:
    """The parameter names of groups of options."""
    return [option.name for group in groups for option in group if option.name]


def picked(given: dict[str, Any], *groups: list[click.Option]) -> dict[str, Any]:
    """What was given for the options of these groups."""
    return {name: given[name] for name in names(*groups)}
