"""Arguments in, one call, result out: `geomclip evaluate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

import click

from geomclip.cli.arguments import flags, logit_scale, own_encoder, picked, refuse_beside_embeddings, typed
from geomclip.cli.commands import examples
from geomclip.cli.gates import OF_VALUES, conclude, conditions, gates
from geomclip.cli.options import (
    BOOTSTRAP,
    CACHE,
    COLUMNS,
    DATA,
    EMBEDDINGS,
    FULL,
    MODEL,
    OWN,
    PROCESSES,
    PROGRESS,
    SCALE,
    SEED,
    STANDOUTS,
    WORK,
    choice,
    setting,
    switch,
    text,
)
from geomclip.cli.outs import check_outs, others, outs, pages
from geomclip.cli.terminal import WIDTH, progress_bar, say, say_json, stdout_console
from geomclip.evaluations.asked import ASKED
from geomclip.machine.engines import ENGINES
from geomclip.machine.errors import InputError, naming
from geomclip.machine.outputs import check_appending
from geomclip.machine.words import option

if TYPE_CHECKING:
    from geomclip.panels.record import Panel

TASKS = list(ASKED)


def _options_of_tasks() -> dict[str, click.Option]:
    found: dict[str, click.Option] = {}
    having: dict[str, list[str]] = {}
    for task, kind in ASKED.items():
        for each in fields(kind):
            if each.metadata.get("help"):
                found.setdefault(each.name, setting(each, kind()))
                having.setdefault(each.name, []).append(task)
    for name, option_of in found.items():
        option_of.help = f"{', '.join(having[name])}: {option_of.help}"
    return found


OF_TASKS = _options_of_tasks()
"""The options of all tasks; one that several have stands once."""
LABEL_COLUMN = text("--label-column", "NAME", "Of pairs: the column whose values are classes, as `group` of emoji.")
ASKERS = [
    choice("--engine", list(ENGINES), "With --all: a task a process, ray: of a cluster; the same numbers."),
    PROCESSES,
]
EVALUATE = [
    choice("--task", TASKS, "What to ask; `geomclip evaluate --list` says what each answers."),
    switch("--all", "Every task that applies; --out is then a folder.", "all_tasks"),
    switch("--list", "Say what each task answers.", "listed"),
    EMBEDDINGS,
    COLUMNS,
    LABEL_COLUMN,
    *SCALE,
    BOOTSTRAP,
    *ASKERS,
    *gates(OF_VALUES),
    *outs("Write the result: .json (FILE.items.parquet beside it), .csv, .md, .tex, or .html (a page) by its name"),
    FULL,
    switch("--json", "Print the result as JSON, not as a table.", "as_json"),
]


@click.command(
    params=[*EVALUATE, *OF_TASKS.values(), *MODEL, *OWN, *DATA, *WORK, *SEED, *CACHE, *STANDOUTS],
    epilog=examples(
        "geomclip evaluate --task zeroshot --label-column group",
        "geomclip evaluate --task zeroshot --model ViT-B/32 --data imagenet-folder:pets --out before.json",
        "geomclip evaluate --all --out evaluations",
        "geomclip evaluate --all --label-column group --engine process --processes 2",
    ),
)
@click.pass_context
def evaluate(context: click.Context, /, **options: Any) -> None:
    """Ask what a space is good for: classify, learn from few images, hold under shift, ...

    The result of a task is a file as that of measure: `geomclip compare before.json after.json` takes two of them.
    """
    from geomclip.evaluations import calls

    if options["listed"]:
        for task in calls.list_tasks():
            say(f"{task.name:<17} {task.answers}")
        return
    if options["all_tasks"] and options["task"] is not None:
        raise InputError(f"--task {options['task']} and --all both say what to ask: leave out one of them")
    if not options["all_tasks"] and options["task"] is None:
        raise InputError(f"name one --task ({', '.join(TASKS)}), or --all")
    sharing = picked(options, ASKERS)
    if not options["all_tasks"] and (idle := [name for name, value in sharing.items() if value is not None]):
        raise InputError(f"{flags(idle)}: one --task is asked by this process; they are of --all")
    how = _subject(context, options) | _of_tasks(context, options)
    if options["all_tasks"]:
        _all(options, how | sharing)
        return
    from geomclip.panels import documents

    check_outs(options["out"], documents.SUFFIXES)
    check_appending(options["summary"])
    with progress_bar(**picked(options, PROGRESS)) as progress:
        panel = calls.evaluate(options["task"], **how, progress=progress)
    _print(panel, options)
    for out in others(options["out"]):
        panel.save(out)
    for out in pages(options["out"]):
        from geomclip.reports import report as write_page

        with progress_bar(**picked(options, PROGRESS)) as progress:
            write_page(panel, out, cache_dir=options["cache_dir"], progress=progress, command=context.obj)
    from geomclip.panels import summary

    conclude(options, panel.failure, partial(summary.of_panel, panel, f"geomclip evaluate --task {options['task']}"))


def tasks_of_words(words: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """`TASK[=DATA] --option ...` words: the tasks with their data, and the options that each has, by its name.

    Raises
    ------
    InputError
        If a task is unknown, or an option is none of its own.
    """
    tasks, options = [], {}
    for word in words:
        try:
            first, *rest = shlex.split(word) or [""]
        except ValueError as problem:
            raise InputError(f"{option('evaluate', word)}: {problem}") from problem
        tasks.append(first)
        name = first.partition("=")[0]
        if not rest or name not in ASKED:  # an unknown one is refused with the nearest
            continue
        own = [OF_TASKS[each.name] for each in fields(ASKED[name]) if each.name in OF_TASKS]
        command = click.Command(name, params=[*own, LABEL_COLUMN])
        with naming(option("evaluate", first)):
            try:
                context = command.make_context(name, rest)
            except click.UsageError as problem:
                raise InputError(problem.format_message()) from problem
            options[name] = typed(context, own, [LABEL_COLUMN])
    return tasks, options


def _subject(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is evaluated, under the names of `Subject`."""
    scale = logit_scale(dict(options))
    if options["embeddings"] is not None:
        refuse_beside_embeddings(context, but={"device"})
    elif options["columns"] is not None:
        raise InputError("--columns is of files of vectors: name one with --embeddings")
    named = own_encoder(context, picked(dict(options), MODEL, OWN))
    chosen = picked(dict(options), DATA, WORK, SEED, CACHE)
    more = {name: options[name] for name in ("embeddings", "columns", "label_column", "bootstrap")}
    return {**named, **chosen, **more, "logit_scale": scale}


def _of_tasks(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of tasks that the command line has; InputError for one that the task does not have."""
    on_the_line = typed(context, list(OF_TASKS.values()))
    if options["task"] is not None:
        own = [each.name for each in fields(ASKED[options["task"]])]
        for name in on_the_line:
            if name not in own:
                having = [task for task, kind in ASKED.items() if name in [each.name for each in fields(kind)]]
                raise InputError(f"{option(name)} is of --task {' and '.join(having)}: leave it out")
        _refuse_idle(context, options)
    return on_the_line


def _refuse_idle(context: click.Context, options: Mapping[str, Any]) -> None:
    """InputError for a model, data or vectors that have no part in what the task is asked."""
    column = [each for each in EVALUATE if each.name == "label_column"]
    data, space = [*DATA, *column], [EMBEDDINGS, COLUMNS, *MODEL, *OWN, *SCALE]
    for its_own, idle, reason in (
        (options["task"] == "missing-modality", [*space, *data], "--task missing-modality has views of its own"),
        (options["task"] == "simat", data, "--simat names the data of --task simat"),
        (options["tree"], [*space, *data], "--tree generates its rows"),
        (options["captions"], [*MODEL, *OWN, *SCALE], "--captions are those of another model"),
    ):
        if its_own and (clash := [name for name in typed(context, idle) if name != "device"]):
            raise InputError(f"{reason}: leave out {flags(clash)}")


def _print(panel: Panel, options: Mapping[str, Any]) -> None:
    from geomclip.cli import listings
    from geomclip.panels import tables

    if options["as_json"]:
        say_json(tables.panel_json(panel))
    elif options["quiet"]:
        listings.print_standouts(panel, stdout_console())
    else:
        listings.print_panel(panel, stdout_console(full=options["full"]), full=options["full"])
    sys.stdout.flush()


def _all(options: Mapping[str, Any], how: dict[str, Any]) -> None:
    """Every task that applies: a table each, and the reasons of the others."""
    from geomclip.evaluations import calls
    from geomclip.machine.outputs import check_output_folder

    if conditions(dict(options)) or options["summary"] is not None:
        raise InputError("--fail-if, --warn-if and --summary are of one --task")
    if len(options["out"]) > 1 or any(out.suffix for out in options["out"]):
        raise InputError("--all writes one folder: --out FOLDER")
    folder = Path(options["out"][0]) if options["out"] else None
    if folder is not None:
        check_output_folder(folder if folder.is_dir() else folder.parent)
    try:
        with progress_bar(**picked(dict(options), PROGRESS)) as progress:
            found = calls.evaluate_all(**how, progress=progress)
    except calls.NoTaskError as problem:
        _say_left_out(problem.reasons)
        raise InputError("no task applies, for the reasons above") from problem
    for place, (name, panel) in enumerate(found.panels.items()):
        if not options["as_json"]:
            say(f"{'' if place == 0 else chr(10)}{name}")
            _print(panel, options)
    if options["as_json"]:
        import json

        say_json(json.dumps({name: panel.to_dict() for name, panel in found.panels.items()}, indent=2))
    _say_left_out(found.reasons)
    if folder is not None:
        found.save(folder)


def _say_left_out(reasons: Mapping[str, str]) -> None:
    """Why tasks are left out, on stderr: a line each, broken where it is longer than a terminal is wide."""
    shape = TextWrapper(WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)  # no option
    for name, reason in reasons.items():
        for line in shape.wrap(f"geomclip: {name} left out: {reason}"):
            say(line, err=True)
