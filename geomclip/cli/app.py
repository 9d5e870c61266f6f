"""Arguments in, one call, result out; no logic.

Nothing heavy is imported before a command runs, so that `--help` answers at once. The file is long by the number of
commands, which stand here one after another, each with its options, its examples and its call.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from geomclip.cli.arguments import (
    check_plan,
    drawn,
    extraction,
    logit_scale,
    made_with,
    of_blocks,
    of_file,
    of_page,
    of_sides,
    own_encoder,
    picked,
    refuse_beside_embeddings,
    refuse_cite_in_json,
    refuse_what_needs_two,
    term_weights,
)
from geomclip.cli.cache_commands import cache
from geomclip.cli.commands import Commands, Spread, examples
from geomclip.cli.evaluate import evaluate, tasks_of_words
from geomclip.cli.gates import check_changes, check_values, conclude, measured_keys
from geomclip.cli.ground import ground
from geomclip.cli.options import (
    CACHE,
    CARD,
    CHECK,
    COMMON,
    COMPARE,
    DATA,
    DEBUG,
    DOWNLOAD,
    ENGINE,
    ESTIMATOR,
    EXPORT,
    EXTRACT,
    FINETUNE_DATA,
    KEEP_PATHS,
    LISTED,
    MEASURE,
    MODEL,
    OWN,
    PLAN,
    PLANNED,
    PROGRESS,
    PROJECT,
    QUIET,
    REPORT,
    REPRODUCE,
    RUN,
    SCALE,
    SEED,
    SPHERE,
    STANDOUTS,
    STORE,
    SWEEPERS,
    TRAINING,
    VERDICT,
    WEIGHTS,
    WORK,
)
from geomclip.cli.outs import check_outs, others, pages
from geomclip.cli.terminal import explain, progress_bar, say, say_json, stdout_console
from geomclip.machine import signals
from geomclip.machine.addresses import plain_in
from geomclip.machine.errors import GateError, InputError
from geomclip.machine.outputs import check_output_folder
from geomclip.machine.version import __version__
from geomclip.machine.words import harmless, nearest, one_line, speak_of_flags

OF_A_SIGNAL = 128
"""Exit codes after a signal are this and its number (130: Ctrl-C), as a shell reports of a command that dies of it."""


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --batch_size is --batch-size
    },
    epilog=examples(
        "geomclip measure",
        "geomclip measure --model ViT-B/32 --data coco --out coco.json",
        "geomclip measure --embeddings vectors.npz",
        "geomclip COMMAND --help",
    ),
)
@click.version_option(__version__, prog_name="geomclip", message="%(prog)s %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """The geometry of CLIP-like embeddings, measured exactly, seen, and improved by fine-tuning.

    Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed while running,
    2 unusable arguments or input, 3 a gate tripped (--fail-if), 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@app.command(
    params=[*MODEL, *OWN, *DATA, *MEASURE, *WORK, *SEED, *CACHE, *KEEP_PATHS, *STANDOUTS],
    epilog=examples(
        "geomclip measure",
        "geomclip measure --model ViT-B-32:laion2b_s34b_b79k --data coco --out r.json",
        "geomclip measure --embeddings vectors.npz --metrics all --json",
        "geomclip measure --embeddings s3://bucket/store",
        "geomclip measure --data csv:pairs.csv --text-column caption --by source",
        "geomclip measure --encoder my_encoder.py:encode --encoder-name v3 --data folder:photos",
        "geomclip measure --data csv:qa.csv --query-column question --text-column answer",
        "geomclip measure --embeddings vectors.npz --fail-if 'image_retrieval_recall@1 < 0.3'",
        "geomclip measure --embeddings store --engine process --processes 4",
        "geomclip measure --embeddings store --sample-blocks 40",
    ),
)
@click.pass_context
def measure(context: click.Context, /, **options: Any) -> None:
    """Extract embeddings, or load them, and print the panel of numbers."""
    from geomclip.panels import documents

    check_outs(options["out"], documents.SUFFIXES)
    refuse_cite_in_json(options)
    scale = logit_scale(options)
    if options["embeddings"] is not None:
        refuse_beside_embeddings(context, but={"device"} if options["engine"] is None else {"device", "workers"})
    from geomclip import panels
    from geomclip.cli import listings
    from geomclip.panels import measurement, sources, summary, tables
    from geomclip.panels.options import NAMES

    measurement.metric_keys(options["metrics"])  # before the long work, since names can be mistyped
    check_values(options)
    how = {name: options[name] for name in NAMES} | {"logit_scale": scale} | picked(options, SWEEPERS)
    if options["engine"] is not None:
        how["workers"] = options["workers"]
    if options["sample_blocks"] is not None:
        how = of_blocks(context, how)
    with progress_bar(**picked(options, PROGRESS)) as progress:
        how_made = extraction(context, options)
        embeddings = sources.vectors(options["embeddings"], how_made, **of_file(options), progress=progress)
        panel = panels.measure(
            embeddings, name=options["name"] or "", cache_dir=options["cache_dir"], progress=progress, **how
        )
    if options["as_json"]:
        say_json(tables.panel_json(panel))
        for line in (panel.made_from.get("read") or {}).get("how") or ():  # of no use if only a program is told
            say(f"geomclip: read: {line}", err=True)
    elif options["quiet"]:
        listings.print_standouts(panel, stdout_console())
    else:
        listings.print_panel(panel, stdout_console(full=options["full"]), full=options["full"])
    if options["cite"]:
        listings.print_sources(panel)
    sys.stdout.flush()  # the numbers are out, whatever befalls the files
    for out in others(options["out"]):
        panel.save(out)
    for out in pages(options["out"]):
        from geomclip.reports import report as write_page

        with progress_bar(**picked(options, PROGRESS)) as progress:
            write_page(panel, out, cache_dir=options["cache_dir"], progress=progress, command=made_with(context))
    conclude(options, panel.failure, partial(summary.of_panel, panel, "geomclip measure"))


@app.command(
    params=[
        click.Argument(["result"], required=False, type=click.Path(path_type=Path)),
        *PLAN,
        *PLANNED,
        *MODEL,
        *OWN,
        *DATA,
        *WORK,
        *SEED,
        *CACHE,
        *COMMON,
    ],
    epilog=examples(
        "geomclip plan --width 0.02",
        "geomclip plan --width 0.01 --metric image_retrieval_recall@1 result.json",
        "geomclip plan --width 0.05 --metric modality_gap --metric alignment --embeddings vectors.npz",
    ),
)
@click.pass_context
def plan(context: click.Context, /, result: Path | None, **options: Any) -> None:
    """Say how many images a 95 % interval of a wanted width needs, from RESULT or what is measured now.

    RESULT is what measure --out wrote. Without it --embeddings, or --model on --data, are measured; the demo model on
    the built-in emoji if nothing is named. It extrapolates from the interval at hand, for images of the same kind.
    """
    check_plan(context, options, result)
    scale = logit_scale(options)
    from geomclip import panels
    from geomclip.cli import listings
    from geomclip.panels import loading, planning, sources

    planning.check_width(options["width"])  # before the long work, as names that can be mistyped
    keys = planning.keys_of(options["metric"]) if options["metric"] else None
    if result is not None:
        panel = loading.load(result)
    else:
        how = {name: options[name] for name in ("captions", "bootstrap", "seed", "dtype", "device")}
        how |= {"logit_scale": scale, "metrics": keys or planning.DEFAULT}
        with progress_bar(**picked(options, PROGRESS)) as progress:
            how_made = extraction(context, options)
            embeddings = sources.vectors(options["embeddings"], how_made, **of_file(options), progress=progress)
            panel = panels.measure(embeddings, cache_dir=options["cache_dir"], progress=progress, **how)
    plan = planning.plan(panel, options["width"], keys)
    if options["as_json"]:
        say_json(planning.plan_json(plan))
    else:
        listings.print_plan(plan, stdout_console())


@app.command(
    params=[*MODEL, *OWN, *DATA, *SCALE, *EXTRACT, *WORK, *SEED, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip extract --out store",
        "geomclip extract --model ViT-B/32 --data coco --data-root datasets --out coco-store",
        "geomclip extract --data folder:photos --out store --workers 4 --batch-size 256",
        "geomclip extract --data folder:photos --out store --engine process --processes 4",
    ),
)
@click.pass_context
def extract(context: click.Context, /, **options: Any) -> None:
    """Turn pairs into a store of embeddings; go on where a stopped run ended."""
    out: Path = options["out"]
    check_output_folder(out if out.is_dir() else out.parent)
    scale = logit_scale(options)
    from geomclip.encoders.custom import any_encoder
    from geomclip.encoders.extraction import calls as extracting
    from geomclip.pairs import Source, load_pairs

    with progress_bar(**picked(options, PROGRESS)) as progress:
        pairs = load_pairs(Source(**picked(options, DATA)), **picked(options, CACHE), progress=progress)
    made = own_encoder(context, picked(options, MODEL, OWN, SEED, CACHE))
    load = partial(any_encoder, **made, logit_scale=scale)
    encoder = load()
    with progress_bar(**picked(options, PROGRESS)) as progress:
        how = picked(options, WORK, STORE, CACHE, ENGINE) | {"logit_scale": scale}
        if options["engine"] is not None:
            how["load"] = load
        store = extracting.extract(encoder, pairs, out, progress=progress, **how)
    say(store)


@app.command(
    params=[click.Argument(["path"], type=click.Path(path_type=Path)), *CHECK, *DEBUG],
    epilog=examples("geomclip check store", "geomclip check runs/ft", "geomclip check r.json --json"),
)
def check(path: Path, *, as_json: bool, **_: Any) -> None:
    """Say what at PATH is whole, what is not, and what to do; nothing is changed.

    PATH is a store, a run, a result, a checkpoint, an .npz of vectors, fetched data or a cache: whatever geomclip keeps
    a sum of. Exit code 3 where something is damaged, 2 for what is none of geomclip's.
    """
    from geomclip.cli import checks, listings

    found = checks.examine(path)
    if as_json:
        say_json(listings.checked_json(found))
    else:
        listings.print_checked(found, stdout_console())
    if failure := found.failure():
        raise GateError(failure)


@app.command(
    cls=Spread,
    params=[*RUN, *FINETUNE_DATA, *TRAINING, *CACHE, *KEEP_PATHS, *VERDICT],
    epilog=examples(
        "geomclip finetune",
        "geomclip finetune --method ft --epochs 4 --out runs/ft",
        "geomclip finetune --model ViT-B/32 --data flickr30k --preset oh2023",
        "geomclip finetune --data csv:pairs.csv --holdout 0.1 --lora 8 --also emoji",
        "geomclip finetune --fail-if 'image_retrieval_recall@1 < -0.01 and q<0.05'",
        "geomclip finetune --method wise-ft --between runs/a runs/b",
        "geomclip finetune --method soup --between runs/a runs/b runs/c",
        "geomclip finetune --resume --out runs/ft",
    ),
)
def finetune(**options: Any) -> None:
    """Fine-tune a model; measure the held-out split before and after."""
    options["weights"], options["preserve"] = term_weights(options["weights"]), options["preserve"] or None
    refuse_cite_in_json(options)
    check_changes(options, measured_keys(options["metrics"], pairs=True), primary=None, nameable=False)
    gated = {name: options.pop(name) for name in ("fail_if", "warn_if", "summary")}
    as_json, quiet, full, cite = (options.pop(name) for name in ("as_json", "quiet", "full", "cite"))
    log_every = options.pop("log_every")
    del options["debug"]
    asked, of_task = tasks_of_words(options.pop("evaluate"))
    label_column = options.pop("label_column")
    if label_column and not asked:
        raise InputError("--label-column is of tasks: name one with --evaluate")
    options["also"], options["between"] = options["also"] or None, options["between"] or None
    for name in ("per_sample", "compile", "grad_checkpointing"):
        options[name] = options[name] or None  # a switch that is left out leaves the default, or the preset's
    from geomclip.cli import listings
    from geomclip.panels import summary
    from geomclip.panels.comparison import tables
    from geomclip.training.finetune import finetune as finetuning
    from geomclip.training.processes import is_follower

    elsewhere = is_follower()
    if asked and not elsewhere:
        from geomclip.evaluations.of_runs import check_tasks

        # before the long work, since names can be mistyped
        check_tasks(asked, options, of_task, label_column=label_column)
    with progress_bar(quiet=quiet or elsewhere, log_every=log_every) as progress:
        result = finetuning(**options, progress=progress)
    if elsewhere:
        return
    if quiet and not as_json:
        listings.print_verdict(result.comparison, stdout_console())
    elif not as_json:
        listings.print_comparison(result.comparison, stdout_console(full=full), full=full)
        for note in result.notes:
            say(note)
    evaluations = {}
    if asked:  # after the rest has been printed: a task may still find that it cannot be asked
        from geomclip.evaluations.of_runs import evaluate_run

        how = {name: options[name] for name in ("cache_dir", "bootstrap", "device") if options[name] is not None}
        with progress_bar(quiet=quiet, log_every=log_every) as progress:
            evaluations = evaluate_run(
                result.folder,
                asked,
                of_task,
                label_column=label_column,
                seed=options["seed"] or 0,
                **how,
                progress=progress,
            )
    if as_json:
        say_json(tables.comparison_json(result.comparison.replace(evaluations=evaluations)))
    for task, comparison in evaluations.items() if not as_json else ():
        say(f"\n{task}")
        show = listings.print_verdict if quiet else listings.print_comparison
        show(comparison, stdout_console())
    if cite:
        listings.print_sources(result)
    about = partial(summary.of_comparison, result.comparison, "geomclip finetune", notes=result.written_notes)
    conclude(gated, result.comparison.failure, about)


@app.command(
    params=[click.Argument(["checkpoint"]), *EXPORT, *CACHE, *KEEP_PATHS, *QUIET, *DEBUG],
    epilog=examples(
        "geomclip export runs/m2mix-emoji-1 --to openclip --out mine",
        "geomclip export runs/m2mix-emoji-1/model.safetensors --to hf --out mine-hf",
    ),
)
def export(checkpoint: str, *, quiet: bool, debug: bool, **options: Any) -> None:
    """Write a checkpoint, run folder or model as a folder that open_clip or transformers loads."""
    from geomclip.encoders import export as exporting

    loads = exporting.export(checkpoint, **options)
    say(options["out"])
    if not quiet:
        say(f"load it with {loads}", err=True)


@app.command(
    params=[click.Argument(["run"]), *CARD, *CACHE, *COMMON],
    epilog=examples(
        "geomclip card runs/m2mix-emoji-1",
        "geomclip card runs/m2mix-emoji-1 --license mit --sphere --out card.md",
        "geomclip card runs/m2mix-emoji-1 --push ORG/NAME --private --dry-run",
    ),
)
def card(run: str, *, quiet: bool, log_every: int, debug: bool, **options: Any) -> None:
    """Write the model card of RUN, a run folder of finetune: README.md with front matter for the hub.

    It has the verdict, the table before and after, pictures, how the model is loaded and was made, and what is not
    known. With --push card and weights are uploaded; of RUN nothing else, unless --include names it.
    """
    from geomclip.reports.model_card import card as writing

    with progress_bar(quiet=quiet, log_every=log_every) as progress:
        written = writing(run, progress=progress, **options)
    click.echo(written.address or written.path)


@app.command(
    params=[
        *(click.Argument([side], metavar=side.upper()) for side in ("before", "after")),
        click.Argument(["more"], nargs=-1, metavar="[MORE]..."),
        *COMPARE,
        *WEIGHTS,
        *DATA,
        *WORK,
        *SEED,
        *CACHE,
        *KEEP_PATHS,
        *VERDICT,
    ],
    epilog=examples(
        "geomclip compare before.json after.json",
        "geomclip compare demo runs/m2mix-emoji-1 --metrics all --out changes.md",
        "geomclip compare old-store new-store --fail-if 'image_retrieval_recall@1<-0.01'",
        "geomclip compare stock.json ft.json m2mix.json --out runs.md",
        "geomclip compare a.json b.json --primary alignment --fail-if 'alignment worse'",
        "geomclip compare a.json b.json --out changes.json --out changes.html",
        "geomclip compare r.json clip_benchmark.csv:3",
        "geomclip compare ViT-B/32 tuned.pt --arch ViT-B-32-quickgelu --data coco --json",
    ),
)
@click.pass_context
def compare(context: click.Context, /, **options: Any) -> None:
    """Print what changed from BEFORE to AFTER: paired differences with intervals and verdicts.

    Each is a result (.json; of CLIP_benchmark or MTEB too), a row of CLIP_benchmark's table (FILE.csv:ROW), a store,
    .npz or .npy, or what --model takes: a name, a checkpoint, a run folder.
    Models are extracted on --data, vectors measured; images are paired by their ids. Of MORE, each is compared with
    BEFORE too: all stand side by side, and verdicts are corrected over all.
    Of two runs the tasks that both were asked (finetune --evaluate) are compared; RUN RUN is that run before and after.
    """
    from geomclip import panels
    from geomclip.cli import listings
    from geomclip.panels import sources, stored, summary
    from geomclip.panels.comparison import Comparisons, side_by_side, tables

    more: tuple[str, ...] = options["more"]
    for out in options["out"]:
        if more:
            side_by_side.check_name(out)
        else:
            tables.check_name(out, also=(".html",))
    check_outs(options["out"], tables.SUFFIXES)
    page = of_page(context, options)
    full = options["full"]
    refuse_cite_in_json(options)
    before, after = options["before"], options["after"]
    named = (before, after) if more else stored.of_itself(before, after)
    kinds = [sources.kind(side) for side in (*named, *more)]
    known = None if "result" in kinds else measured_keys(options["metrics"])
    check_changes(options, known, primary=options["primary"])
    chosen = of_sides(context, options, COMPARE)
    if page and not {"model", "file"} & set(kinds):
        sources.check_options(chosen, kinds, pictures=page["thumbnails"])
        page |= {name: chosen.pop(name) for name in sources.OF_IMAGES if name in chosen}
    always = {name: options[name] for name in ("bootstrap", "seed", "intersect", "resample", "cache_dir")}
    always |= {name: options[name] or None for name in ("primary", "names")}
    with progress_bar(**picked(options, PROGRESS)) as progress:
        compare: Any = panels.compare
        result: Any = compare(before, after, *more, **always, progress=progress, **chosen)
        for out in others(options["out"]):
            result.save(out)
        for out in pages(options["out"]):
            how = page | {name: chosen[name] for name in sources.OF_IMAGES if name in chosen}
            how |= {"cache_dir": options["cache_dir"], "progress": progress, "command": made_with(context)}
            from geomclip.reports import report as write_page

            write_page(result, out, **how)
    several = isinstance(result, Comparisons)
    if options["as_json"]:
        say_json(side_by_side.several_json(result) if several else tables.comparison_json(result))
    elif options["quiet"]:
        (listings.print_verdicts if several else listings.print_verdict)(result, stdout_console())
    elif several:
        listings.print_comparisons(result, stdout_console(full=full), full=full)
    else:
        listings.print_comparison(result, stdout_console(full=full), full=full)
    if options["cite"]:
        listings.print_sources(result)
    about = summary.of_comparisons if several else summary.of_comparison
    conclude(options, result.failure, partial(about, result, "geomclip compare"))


@app.command(
    params=[
        click.Argument(["source"], required=False, default="demo"),
        *REPORT,
        *WEIGHTS,
        *DATA,
        *WORK,
        *SEED,
        *CACHE,
        *KEEP_PATHS,
        *COMMON,
    ],
    epilog=examples(
        "geomclip report",
        "geomclip report coco-store --data-root datasets --out coco.html",
        "geomclip report result.json --out result.html",
        "geomclip report runs/m2mix-emoji-1 --no-thumbnails",
    ),
)
@click.pass_context
def report(context: click.Context, /, source: str, out: Path, **options: Any) -> None:
    """Write one offline HTML page of SOURCE: numbers, pictures, and items to search and follow.

    SOURCE is a result (.json), a store, .npz or .npy, or what --model takes: a name, a checkpoint, a run folder. Of
    vectors --data and --data-root say where their images lie, if what they were made from does not tell.
    """
    from geomclip import reports

    always = {name: options[name] for name in ("points", "color", "bootstrap", "seed", "cache_dir")}
    always |= {"thumbnails": not options["no_thumbnails"], "curves": not options["no_curves"]}
    chosen = of_sides(context, options, REPORT)
    with progress_bar(**picked(options, PROGRESS)) as progress:
        say(reports.report(source, out, **always, progress=progress, command=made_with(context), **chosen))


@app.command(
    "plot-sphere",
    params=[*SPHERE, *MODEL, *OWN, *DATA, *WORK, *SEED, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip plot-sphere",
        "geomclip plot-sphere --embeddings vectors.npz --out sphere.html --out sphere.pdf",
        "geomclip plot-sphere --after runs/m2mix-emoji-1",
    ),
)
@click.pass_context
def plot_sphere(context: click.Context, /, **options: Any) -> None:
    """Draw both modalities on a sphere, their pairs, mean directions and the gap: a page to turn, and a picture."""
    from geomclip.cli import listings
    from geomclip.plots import globe

    out = globe.check(options["out"] or globe.DEFAULT_OUT, options["method"])
    refuse_what_needs_two(context, options)
    how = {name: options[name] for name in ("method", "captions", "links", "color", "intersect", "names")}
    how |= {"random_state": options["seed"], "command": made_with(context)}
    globe.check_names(options["names"], pair=options["after"] is not None)
    with progress_bar(**picked(options, PROGRESS)) as progress:
        sets = drawn(context, options, progress)
        globe.plot_sphere(*sets, out=out, progress=progress, **how)
    for file in out:
        say(file)
    if options["cite"]:
        listings.print_sources(globe.ON_SPHERE[options["method"]], *listings.KEPT, sets)


@app.command(
    params=[*PROJECT, *MODEL, *OWN, *DATA, *WORK, *SEED, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip project",
        "geomclip project --method svd --embeddings vectors.npz --out plane.parquet",
        "geomclip project --method tsne --perplexity 50 --out map.html",
        "geomclip project --method pca --after runs/m2mix-emoji-1 --out moved.png",
    ),
)
@click.pass_context
def project(context: click.Context, /, **options: Any) -> None:
    """Draw images and texts on a plane or sphere: coordinates, and a picture that says what it keeps."""
    from geomclip.cli import listings
    from geomclip.plots import drawing, globe

    method, components = options["method"], options["components"]
    out = options["out"] or drawing.DEFAULT_OUT
    drawing.check(out, method, n_components=components, pair=options["after"] is not None)
    refuse_what_needs_two(context, options)
    how = drawing.options_of(method, **picked(options, ESTIMATOR))
    how |= {name: options[name] for name in ("captions", "color", "intersect", "names")}
    globe.check_names(options["names"], pair=options["after"] is not None)
    how |= {"random_state": options["seed"], "command": made_with(context)}
    with progress_bar(**picked(options, PROGRESS)) as progress:
        sets = drawn(context, options, progress)
        files = drawing.draw(*sets, method=method, n_components=components, out=out, progress=progress, **how)
    for file in (*files.coordinates, files.picture):
        say(file)
    if options["cite"]:
        listings.print_sources(method, *listings.KEPT, sets)


@app.command(
    params=[*REPRODUCE, *WORK, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip reproduce --list",
        "geomclip reproduce --only b32-openai-coco --data-root datasets",
        "geomclip reproduce --model ViT-B/32 --device cuda --out reproduced",
        "geomclip reproduce --data flickr30k --json",
    ),
)
def reproduce(**options: Any) -> None:
    """Lay published numbers of CLIP and SigLIP beside what comes out on this machine; exit 3 if one is off.

    Weights are fetched, data are looked for; the same command goes on where it was stopped. Exit codes: 0 if all that
    was wanted holds, 3 if a number is off, 1 if none is, but rows were not run, as their weights or data are not here.
    """
    from geomclip.cli import listings
    from geomclip.reproduction import run

    where = picked(options, CACHE) | {name: options[name] for name in ("only", "model", "data", "out", "data_root")}
    if options["listed"]:
        places = run.places(**where)
        if options["as_json"]:
            say_json(listings.places_json(places))
        else:
            listings.print_places(places, stdout_console())
        return
    how = picked(options, WORK) | {name: options[name] for name in ("limit", "device", "precision", "bootstrap")}
    with progress_bar(**picked(options, PROGRESS)) as progress:
        found = run.reproduce(**where, **how, progress=progress)
    if options["as_json"]:
        say_json(listings.reproduction_json(found))
    else:
        listings.print_reproduction(found, stdout_console())
    sys.stdout.flush()  # the table is out, whatever it comes to
    found.check()


@app.command(params=[*CACHE, *DEBUG], epilog=examples("geomclip models"))
def models(cache_dir: Path | None, **_: Any) -> None:
    """List the models that can be named, and which are on this machine."""
    from geomclip.cli import listings
    from geomclip.encoders import list_models

    listings.print_models(list_models(cache_dir=cache_dir), stdout_console())


@app.group(
    cls=Commands,
    invoke_without_command=True,
    params=[*LISTED, *CACHE, *DEBUG],
    epilog=examples("geomclip data", "geomclip data --data-root datasets", "geomclip data download coco"),
)
@click.pass_context
def data(context: click.Context, /, data_root: Path | None, cache_dir: Path | None, **_: Any) -> None:
    """List the data sets that can be named: size, licence, where each is looked for, what is here."""
    if context.invoked_subcommand is not None:
        # what stands before the name of the subcommand holds for it, too
        context.default_map = {context.invoked_subcommand: {"data_root": data_root, "cache_dir": cache_dir}}
        return
    from geomclip.cli import listings
    from geomclip.pairs import list_datasets

    listings.print_datasets(list_datasets(data_root=data_root, cache_dir=cache_dir), stdout_console())


@data.command(
    params=[click.Argument(["name"]), *DOWNLOAD, *CACHE, *COMMON],
    epilog=examples("geomclip data download coco", "geomclip data download coco --data-root datasets"),
)
def download(name: str, *, quiet: bool, log_every: int, debug: bool, **options: Any) -> None:
    """Fetch a data set from its official address; go on where a stopped download ended."""
    from geomclip.pairs.download import download_dataset

    with progress_bar(quiet=quiet, log_every=log_every, of_bytes=True) as progress:
        folder = download_dataset(name, **options, progress=progress)
    say(folder)


app.add_command(evaluate)
app.add_command(ground)


@app.command(params=[*CACHE, *DEBUG], epilog=examples("geomclip doctor"))
def doctor(cache_dir: Path | None, **_: Any) -> None:
    """Say what is installed and reachable here, and what to do about what is not."""
    from geomclip.cli import doctor as doctoring
    from geomclip.cli import listings

    listings.print_findings(doctoring.examine(cache_dir=cache_dir), stdout_console())


app.add_command(cache)


@app.command(
    params=[click.Argument(["name"], required=False), *DEBUG],
    epilog=examples("geomclip schema", "geomclip schema measure"),
)
def schema(name: str | None, **_: Any) -> None:
    """Print the JSON Schema of what a command writes, by its NAME; without one, the names."""
    from geomclip.cli import schemas

    say(schemas.schema(name).rstrip() if name else "\n".join(schemas.names()))


def usage_message(error: click.ClickException) -> str:
    """One line for arguments that cannot be used, with the nearest names for an unknown option."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for parameter in error.ctx.command.get_params(error.ctx) for name in parameter.opts]
        near = nearest(error.option_name, known) or f"; {error.ctx.command_path} --help lists them"
        return f"no option {error.option_name}{near}"
    return one_line(error.format_message())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors are one line on stderr, a traceback only with --debug."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stand-in for a stream may not have it
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # ↓ where it cannot be shown is ?
    speak_of_flags()
    try:
        with (
            signals.handled(signals.end, *signals.OF_OTHERS),
            app.make_context("geomclip", list(arguments), obj=["geomclip", *arguments]) as context,
        ):
            app.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        # whoever read (head, less) has seen enough; Python would complain again as it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        kept = one_line(str(stop)) or "what is finished is kept, the same command goes on from there"
        message, code = f"interrupted; {kept}", OF_A_SIGNAL + signals.number_of(stop)
    except click.ClickException as error:
        message, code = usage_message(error), error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            sys.stderr.write(plain_in(traceback.format_exc()))
        message, code = explain(error)
    finally:
        speak_of_flags(False)
    with suppress(OSError):
        sys.stderr.write(f"geomclip: error: {harmless(plain_in(message))}\n")
    return code
