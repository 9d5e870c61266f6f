"""Every option does what it says: with it a command hands on something else than without it, or refuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import click
import pytest

from geomclip.cli import app, options
from geomclip.cli.ground import PREDICT
from geomclip.encoders import load_encoder
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.evaluations.calls import list_tasks
from geomclip.grounding.predict import predict
from geomclip.machine.errors import GeomclipError
from geomclip.panels import compare
from geomclip.panels.options import Measuring
from geomclip.plots.drawing import draw
from geomclip.plots.globe import plot_sphere
from geomclip.reports import report

CALLED = (
    "cli.options.keep_paths",
    *("cli.app.progress_bar", "cli.doctor.examine", "encoders.list_models", "encoders.load_encoder"),
    *(
        "encoders.custom.any_encoder",
        "encoders.export.export",
        "encoders.extraction.calls.extract",
        "pairs.list_datasets",
        "pairs.load_pairs",
    ),
    *("cli.ground.progress_bar", "grounding.calls.ground", "reports.grounding.write_page"),
    *("pairs.download.download_dataset", "panels.compare", "panels.measure", "panels.planning.plan"),
    "panels.sources.loaded",
    *("reproduction.run.reproduce", "reproduction.run.places"),
    *("panels.sources.vectors", "plots.drawing.check", "plots.drawing.draw", "plots.globe.check"),
    *("plots.globe.plot_sphere", "reports.report", "reports.model_card.card", "training.finetune.finetune"),
    *("cli.cache.contents", "cli.cache.prune", "cli.checks.examine"),
    *("cli.evaluate.progress_bar", "evaluations.calls.evaluate", "evaluations.calls.evaluate_all"),
    *("cli.gates.append_text", "panels.summary.of_panel", "panels.summary.of_comparison"),
    *("cli.ground.atomic_json", "grounding.annotations.load_queries"),
    *("grounding.splits.check_splits", "grounding.splits.split_lines"),
    *("grounding.training.train", "grounding.training.load_run", "grounding.scoring.score_files"),
    *("grounding.bench.sources.bank_of", "grounding.bench.run.bench"),
)
"""What commands hand their options to."""
SHOWN = [
    name
    for name in ("cli.listings", "grounding.predict", "panels.tables", "panels.planning", "panels.comparison.tables")
    if find_spec(f"geomclip.{name}")
]
"""Where results become text: all functions print_* and *_json."""
NEEDED = {
    "evaluate": ["--task", "fewshot"],
    "card": ["run"],
    "compare": ["demo", "demo", "--out", "page.html"],  # a page, since some options are of pages only
    "extract": ["--out", "store"],
    "export": ["demo", "--to", "hf", "--out", "folder"],
    "download": ["coco"],
    "plan": ["--width", "0.1"],
    "prune": ["--older-than", "1d", "--max-size", "1GB"],
    "check": ["annotations.json"],
    "train": ["--annotations", "scenes.jsonl", "--out", "run"],
    "score": ["--annotations", "scenes.jsonl"],
    "predict": ["video.mp4", "--query", "a dog"],
}
VALUES = {
    "also": "coco",
    "task": "zeroshot",
    "shots": "4",
    "metrics": "alignment",
    "metric": "alignment",
    "fail_if": "alignment<0",
    "warn_if": "alignment<0",
    "primary": "alignment",
    "weights": "m2_mix=0.5",
    "preserve": "cosine=0.5",
    "engine": "process",
    "to": "openclip",
    "method": "ft",
    "suppress": "0.25",
    "older_than": "2d",
    "max_size": "2GB",
    "embeddings": "toy.npz",
}


def commands(group: click.Group = app.app) -> Iterator[tuple[list[str], click.Command]]:
    """All commands with the words that call them."""
    for name, command in group.commands.items():
        yield [name], command
        if isinstance(command, click.Group):
            yield from (([name, *words], below) for words, below in commands(command))


WALK = [
    (words, each)
    for words, command in commands()
    for each in command.params
    if isinstance(each, click.Option) and each.name not in ("debug", "raise_limit")  # not handed on
]


def typed(each: click.Option, default: object) -> list[str]:
    """An option as it is typed, with a value other than its default."""
    if each.is_flag:
        return [each.opts[0]]
    if each.name in VALUES:
        value = VALUES[each.name]
    elif isinstance(each.type, click.Choice):
        value = next(choice for choice in each.type.choices if choice != default)
    else:
        value = {"integer range": "7", "float range": "0.5", "float": "0.5"}.get(each.type.name, "other.md")
    return [each.opts[0], value]


@cache
def outcome(*arguments: str) -> tuple[str, str]:
    """What a command calls, and the error with which it ends; not what it was called with, which pages show."""
    world = MagicMock()
    world.examine.return_value.failure.return_value = ""
    judges = (world.compare.return_value, world.measure.return_value, world.evaluate.return_value)
    for judge in (*judges, world.finetune.return_value.comparison):
        judge.failure.return_value = ""  # no condition of --fail-if holds
    # all modules first: one that is imported while another is patched would keep what it took from there
    called = [
        (import_module(f"geomclip.{module}"), name) for module, _, name in (each.rpartition(".") for each in CALLED)
    ]
    list_tasks()  # which imports their modules
    with pytest.MonkeyPatch.context() as patch:
        for home, function in called:
            patch.setattr(home, function, getattr(world, function))
        for module in SHOWN:
            for function in vars(import_module(f"geomclip.{module}")):
                if function.startswith("print_") or function.endswith("_json"):
                    patch.setattr(f"geomclip.{module}.{function}", getattr(world, function))
        patch.setattr(click, "echo", world.echo)
        error = ""
        try:
            with app.app.make_context("geomclip", list(arguments)) as context:
                app.app.invoke(context)
        except (GeomclipError, click.ClickException) as refused:
            error = str(refused)
    calls = [f"{name}{positional}{sorted(named.items())}" for name, positional, named in world.mock_calls]
    return re.sub(r" id='\d+'", "", "\n".join(calls)), error


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "each"), WALK, ids=[f"{' '.join(words)} {each.opts[0]}" for words, each in WALK])
def test_every_option_is_read(words: list[str], each: click.Option) -> None:
    needed = NEEDED.get(words[-1], [])
    without = outcome(*words, *needed)
    assert without[1] == ""
    assert outcome(*words, *needed, *typed(each, each.default)) != without


@pytest.mark.parametrize("flag", ["--data-root", "--cache-dir"])
def test_what_stands_before_download_holds_for_it(flag: str) -> None:
    before = outcome("data", flag, "here", "download", "coco")
    assert before == outcome("data", "download", "coco", flag, "here")
    assert before != outcome("data", "download", "coco")
    nearer = outcome("data", flag, "there", "download", "coco", flag, "here")
    assert before == nearer


@pytest.mark.parametrize(
    ("group", "function"),
    [
        (options.WEIGHTS, embed),  # its model is None, for functions may be in its place
        (options.MODEL, load_encoder),
        (options.DATA, embed),
        (options.WORK, embed),
        (options.SEED, embed),
        (options.EXTRACT, extract),
        (options.MEASURE, Measuring),
        (options.PLANNED, Measuring),
        (options.COMPARE, compare),
        (options.REPORT, report),
        (options.SPHERE, plot_sphere),
        (options.PROJECT, draw),
        (PREDICT, predict),
    ],
)
def test_a_default_of_a_command_is_that_of_the_function(group: list[click.Option], function: object) -> None:
    """The commands start without the packages that the functions need, so some defaults stand in both."""
    parameters = inspect.signature(function).parameters
    elsewhere = ("out", "embeddings", "after")  # what is done with them is the commands' own
    both = [each for each in group if each.name in parameters and each.name not in elsewhere]
    assert both
    for each in both:
        default = None if repr(each.default) == "Sentinel.UNSET" else each.default
        expected = parameters[each.name].default
        assert default == expected or (each.is_flag and not default and not expected), each.name
