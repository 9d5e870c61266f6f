"""Arguments in, one call, result out; no logic.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geomclip.cli.options import (
    CACHE,
    COMMON,
    COMPARE,
    DATA,
    EXPORT,
    EXTRACT,
    FINETUNE_DATA,
    MEASURE,
    MODEL,
    PAGE,
    PROJECT,
    REPORT,
    RUN,
    SEED,
    SPHERE,
    TRAINING,
    WORK,
    names,
    path,
    picked,
    text,
)
from geomclip.cli.terminal import Report, explain, progress_bar, stdout_console
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.outputs import check_output_file, check_output_folder
from geomclip.machine.version import __version__
from geomclip.machine.words import nearest, one_line, speak_of_flags

if TYPE_CHECKING:
    from geomclip.embeddings.record import EmbeddingSet

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, what a shell reports of a command that dies of it."""


class Commands(click.Group):
    """A group of commands that answers a mistyped name with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but the error names what was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            near = nearest(name, known) or f"; the commands are {', '.join(known)}"
            raise click.UsageError(f"no command {name!r}{near}", ctx)
        return super().resolve_command(ctx, args)


def examples(*lines: str) -> str:
    """The end of a help text, with its line ends kept."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


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
    2 unusable arguments or input, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@app.command(
    params=[*MODEL, *DATA, *MEASURE, *WORK, *SEED, *CACHE, *COMMON],
    epilog=examples(
        "geomclip measure",
        "geomclip measure --model ViT-B-32:laion2b_s34b_b79k --data coco --out r.json",
        "geomclip measure --embeddings vectors.npz --metrics all --json",
        "geomclip measure --data csv:pairs.csv --text-column caption --by source",
    ),
)
@click.pass_context
def measure(context: click.Context, /, **given: Any) -> None:
    """Extract embeddings, or load them, and print the panel of numbers."""
    out = given["out"]
    if out is not None:
        check_output_file(out, ".json")
    scale = logit_scale(given["logit_scale"], given["temperature"])
    if given["embeddings"] is not None:
        refuse_beside_embeddings(context, but="device")
    from geomclip import panels
    from geomclip.cli import listings
    from geomclip.panels import measurement, tables
    from geomclip.panels.options import NAMES

    measurement.metric_keys(given["metrics"])  # before the long work, since names can be mistyped
    with progress_bar(quiet=given["quiet"]) as report:
        embeddings = embeddings_of(given, report)
        options = {name: given[name] for name in NAMES} | {"logit_scale": scale}
        panel = panels.measure(embeddings, cache_dir=given["cache_dir"], progress=report, **options)
    if out is not None:
        panel.save(out)
    if given["as_json"]:
        click.echo(tables.panel_json(panel))
    else:
        listings.print_panel(panel, stdout_console())


@app.command(
    params=[*MODEL, *DATA, *EXTRACT, *WORK, *SEED, *CACHE, *COMMON],
    epilog=examples(
        "geomclip extract --out store",
        "geomclip extract --model ViT-B/32 --data coco --data-root datasets --out coco-store",
        "geomclip extract --data folder:photos --out store --workers 4 --batch-size 256",
    ),
)
def extract(**given: Any) -> None:
    """Turn pairs into a store of embeddings; go on where a stopped run ended."""
    out: Path = given["out"]
    check_output_folder(out if out.is_dir() else out.parent)
    from geomclip.encoders import load_encoder
    from geomclip.encoders.extraction import calls as extracting
    from geomclip.pairs import Source, load_pairs

    pairs = load_pairs(Source(**picked(given, DATA)), **picked(given, CACHE))
    encoder = load_encoder(**picked(given, MODEL, SEED, CACHE))
    with progress_bar(quiet=given["quiet"]) as report:
        options = {name: given[name] for name in ("batch_size", "workers", "shard_rows", "raw")}
        store = extracting.extract(encoder, pairs, out, progress=report, **options)
    click.echo(store)


@app.command(
    params=[*RUN, *FINETUNE_DATA, *TRAINING, *CACHE, *COMMON],
    epilog=examples(
        "geomclip finetune",
        "geomclip finetune --method ft --epochs 4 --out runs/ft",
        "geomclip finetune --model ViT-B/32 --data flickr30k --preset oh2023",
        "geomclip finetune --data csv:pairs.csv --holdout 0.1 --lora 8",
        "geomclip finetune --resume --out runs/ft",
    ),
)
def finetune(**given: Any) -> None:
    """Fine-tune a model; measure the held-out split before and after."""
    given["weights"] = term_weights(given["weights"])
    as_json, quiet = given.pop("as_json"), given.pop("quiet")
    del given["debug"]
    for name in ("per_sample", "compile", "grad_checkpointing"):
        given[name] = given[name] or None  # a switch that is not given leaves the default, or the preset's
    from geomclip.cli import listings
    from geomclip.panels.comparison import tables
    from geomclip.training.finetune import finetune as finetuning
    from geomclip.training.processes import is_told_elsewhere

    elsewhere = is_told_elsewhere()
    with progress_bar(quiet=quiet or elsewhere) as report:
        result = finetuning(**given, report=report)
    if elsewhere:
        return
    if as_json:
        click.echo(tables.comparison_json(result.comparison))
        return
    listings.print_comparison(result.comparison, stdout_console())
    for note in result.notes:
        click.echo(note)


@app.command(
    params=[click.Argument(["checkpoint"]), *EXPORT, *CACHE, *COMMON],
    epilog=examples(
        "geomclip export runs/m2mix-emoji-1 --to openclip --out mine",
        "geomclip export runs/m2mix-emoji-1/model.safetensors --to hf --out mine-hf",
    ),
)
def export(checkpoint: str, *, quiet: bool, debug: bool, **given: Any) -> None:
    """Write a checkpoint, run folder or model as a folder that open_clip or transformers loads."""
    from geomclip.encoders import export as exporting

    loads = exporting.export(checkpoint, **given)
    click.echo(given["out"])
    if not quiet:
        click.echo(f"load it with {loads}", err=True)


@app.command(
    params=[
        *(click.Argument([side], metavar=side.upper()) for side in ("before", "after")),
        *COMPARE,
        *(option for option in MODEL if option.name != "model"),
        *DATA,
        *WORK,
        *SEED,
        *CACHE,
        *COMMON,
    ],
    epilog=examples(
        "geomclip compare before.json after.json",
        "geomclip compare demo runs/m2mix-emoji-1 --metrics all --out changes.md",
        "geomclip compare old-store new-store --fail-if image_retrieval_recall@1<-0.01",
        "geomclip compare ViT-B/32 tuned.pt --arch ViT-B-32-quickgelu --data coco --json",
    ),
)
@click.pass_context
def compare(context: click.Context, /, **given: Any) -> None:
    """Print what changed from BEFORE to AFTER: paired differences with intervals and verdicts.

    Each is a result (.json), a store, .npz or .npy, or what --model takes: a name, a checkpoint, a run folder.
    Models are extracted on --data, vectors measured; images are paired by their ids.
    """
    from geomclip import panels
    from geomclip.cli import listings
    from geomclip.panels import sources
    from geomclip.panels.comparison import Gate, tables
    from geomclip.panels.measurement import metric_keys

    out: Path | None = given["out"]
    if out is not None:
        tables.check_name(out)
        check_output_file(out)
    of_page = page_options(context, given, out)
    before, after = given["before"], given["after"]
    of_results = "result" in (sources.kind(before), sources.kind(after))
    for condition in given["fail_if"]:  # before the long work, since names can be mistyped
        Gate.of(condition, known=None if of_results else metric_keys(given["metrics"]))
    asked = typed(context, MODEL, DATA, WORK, COMPARE)
    options = {name: value for name, value in asked.items() if name in sources.OPTIONS}
    if of_page and not {"model", "file"} & {sources.kind(before), sources.kind(after)}:
        sources.check_options(options, [sources.kind(before), sources.kind(after)], pictures=of_page["thumbnails"])
        of_page |= {name: options.pop(name) for name in sources.OF_IMAGES if name in options}
    scale = logit_scale(given["logit_scale"], given["temperature"])
    if scale is not None:
        options["logit_scale"] = scale
    with progress_bar(quiet=given["quiet"]) as report:
        always = {name: given[name] for name in ("bootstrap", "seed", "intersect", "cache_dir")}
        result = panels.compare(before, after, **always, progress=report, **options)
        if of_page:
            of_page |= {name: options[name] for name in sources.OF_IMAGES if name in options}
            of_page |= {"cache_dir": given["cache_dir"], "progress": report, "command": context.obj}
        if out is not None:
            result.save(out, **of_page)
    if given["as_json"]:
        click.echo(tables.comparison_json(result))
    else:
        listings.print_comparison(result, stdout_console())
    if failed := [line for condition in given["fail_if"] if (line := result.failure(condition))]:
        sys.stdout.flush()
        raise GeomclipError(f"--fail-if {'; '.join(failed)}")


@app.command(
    params=[
        click.Argument(["source"], required=False, default="demo"),
        *REPORT,
        *(option for option in MODEL if option.name != "model"),
        *DATA,
        *WORK,
        *SEED,
        *CACHE,
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
def report(context: click.Context, /, source: str, out: Path, **given: Any) -> None:
    """Write one offline HTML page of SOURCE: numbers, pictures, and items to search and follow.

    SOURCE is a result (.json), a store, .npz or .npy, or what --model takes: a name, a checkpoint, a run folder. Of
    vectors --data and --data-root say where their images lie, if what they were made from does not tell.
    """
    from geomclip import reports
    from geomclip.panels import sources

    asked = typed(context, MODEL, DATA, WORK, REPORT)
    options = {name: value for name, value in asked.items() if name in sources.OPTIONS}
    scale = logit_scale(given["logit_scale"], given["temperature"])
    if scale is not None:
        options["logit_scale"] = scale
    always = {name: given[name] for name in ("points", "bootstrap", "seed", "cache_dir")}
    always |= {"thumbnails": not given["no_thumbnails"], "curves": not given["no_curves"]}
    with progress_bar(quiet=given["quiet"]) as telling:
        told = {"progress": telling, "command": context.obj}
        click.echo(reports.report(source, out, **always, **told, **options))


@app.command(
    "plot-sphere",
    params=[*SPHERE, *MODEL, *DATA, *WORK, *SEED, *CACHE, *COMMON],
    epilog=examples(
        "geomclip plot-sphere",
        "geomclip plot-sphere --embeddings vectors.npz --out sphere.html --out sphere.pdf",
        "geomclip plot-sphere --after runs/m2mix-emoji-1",
    ),
)
@click.pass_context
def plot_sphere(context: click.Context, /, **given: Any) -> None:
    """Draw both modalities on a sphere, their pairs, mean directions and the gap: a page to turn, and a picture."""
    from geomclip.plots import globe

    out = globe.check(given["out"] or globe.DEFAULT_OUT, given["method"])
    if given["intersect"] and given["after"] is None:
        raise InputError("--intersect is of two sets: name the other with --after")
    if given["embeddings"] is not None and given["after"] is None:
        refuse_beside_embeddings(context)
    with progress_bar(quiet=given["quiet"]) as report:
        sets = [embeddings_of(given, report)] if given["after"] is None else sets_of(context, given, report)
        options = {name: given[name] for name in ("method", "captions", "links", "intersect")}
        options |= {"random_state": given["seed"], "command": context.obj, "progress": report.stage}
        globe.plot_sphere(*sets, out=out, **options)
    for file in out:
        click.echo(file)


@app.command(
    params=[*PROJECT, *MODEL, *DATA, *WORK, *SEED, *CACHE, *COMMON],
    epilog=examples(
        "geomclip project",
        "geomclip project --method svd --embeddings vectors.npz --out plane.parquet",
        "geomclip project --method tsne --perplexity 50 --out map.html",
        "geomclip project --method pca --after runs/m2mix-emoji-1 --out moved.png",
    ),
)
@click.pass_context
def project(context: click.Context, /, **given: Any) -> None:
    """Draw images and texts on a plane or sphere: coordinates, and a picture that says what it keeps."""
    from geomclip.plots import drawing

    method, components, pair = given["method"], given["components"], given["after"] is not None
    out = given["out"] or drawing.DEFAULT_OUT
    drawing.check(out, method, n_components=components, pair=pair)
    if given["intersect"] and not pair:
        raise InputError("--intersect is of two sets: name the other with --after")
    if given["embeddings"] is not None and not pair:
        refuse_beside_embeddings(context)
    options = drawing.options_of(method, **{name: given[name] for name in ("neighbors", "perplexity", "min_dist")})
    options |= {name: given[name] for name in ("captions", "intersect")}
    with progress_bar(quiet=given["quiet"]) as report:
        sets = sets_of(context, given, report) if pair else [embeddings_of(given, report)]
        options |= {"command": context.obj, "progress": report.stage, "random_state": given["seed"]}
        files = drawing.draw(*sets, method=method, n_components=components, out=out, **options)
    for file in (*files.coordinates, files.picture):
        click.echo(file)


@app.command(params=[*CACHE, *COMMON], epilog=examples("geomclip models"))
def models(cache_dir: Path | None, **_: Any) -> None:
    """List the models that can be named, and which are on this machine."""
    from geomclip.cli import listings
    from geomclip.encoders import list_models

    listings.print_models(list_models(cache_dir=cache_dir), stdout_console())


@app.group(
    cls=Commands,
    invoke_without_command=True,
    params=[path("--data-root", "FOLDER", "Where data sets lie; default the cache's."), *CACHE, *COMMON],
    epilog=examples("geomclip data", "geomclip data --data-root datasets", "geomclip data download coco"),
)
@click.pass_context
def data(context: click.Context, /, data_root: Path | None, cache_dir: Path | None, **_: Any) -> None:
    """List the data sets that can be named: size, licence, where each is looked for, what is here."""
    if context.invoked_subcommand is not None:
        return
    from geomclip.cli import listings
    from geomclip.pairs import list_datasets

    listings.print_datasets(list_datasets(data_root=data_root, cache_dir=cache_dir), stdout_console())


@data.command(
    params=[
        click.Argument(["name"]),
        path("--data-root", "FOLDER", "Where to put it; default the cache's data folder."),
        text("--split", "NAME", "Of sets whose splits are fetched apart (coco: val or train)."),
        *CACHE,
        *COMMON,
    ],
    epilog=examples("geomclip data download coco", "geomclip data download coco --data-root datasets"),
)
def download(name: str, *, quiet: bool, debug: bool, **given: Any) -> None:
    """Fetch a data set from its official address; go on where a stopped download ended."""
    from geomclip.pairs.download import download_dataset

    with progress_bar(quiet=quiet, of_bytes=True) as report:
        folder = download_dataset(name, **given, progress=report)
    click.echo(folder)


@app.command(params=[*CACHE, *COMMON], epilog=examples("geomclip doctor"))
def doctor(cache_dir: Path | None, **_: Any) -> None:
    """Say what is installed and reachable here, and what to do about what is not."""
    from geomclip.cli import doctor as doctoring
    from geomclip.cli import listings

    listings.print_findings(doctoring.examine(cache_dir=cache_dir), stdout_console())


def embeddings_of(given: dict[str, Any], report: Report) -> EmbeddingSet:
    """What `measure` is to measure: loaded if --embeddings names it, else extracted through the cache."""
    if given["embeddings"] is not None:
        import torch

        from geomclip.embeddings.store import load

        # float64 rows of a float32 file are unit to 1e-16, which float32 rows made unit and then widened are not
        return load(given["embeddings"], dtype=getattr(torch, given.get("dtype", "float32")))
    from geomclip.encoders.extraction.calls import embed

    return embed(**picked(given, MODEL, DATA, WORK, SEED, CACHE), progress=report)


def sets_of(context: click.Context, given: dict[str, Any], report: Report) -> list[EmbeddingSet]:
    """Before, which --embeddings or --model names, and --after: models extracted on the same data."""
    from geomclip.embeddings.record import EmbeddingSet
    from geomclip.embeddings.store import load
    from geomclip.panels import sources

    after = given["after"]
    if sources.kind(after) == "result":
        raise InputError(f"--after {after} is a result, which has no vectors: name the model or the store")
    asked = typed(context, MODEL, DATA, WORK)
    named = asked.pop("model", None)
    if given["embeddings"] is not None and named is not None:
        raise InputError("--embeddings says what is drawn before: leave out --model")
    before = given["model"] if given["embeddings"] is None else load(given["embeddings"])
    common: dict[str, Any] = {"seed": given["seed"], "cache_dir": given["cache_dir"], "options": asked}
    found = sources.loaded((before, after), sources.SIDES, progress=report, **common)
    return [side for side in found if isinstance(side, EmbeddingSet)]


def refuse_beside_embeddings(context: click.Context, *, but: str = "") -> None:
    """Options that say how to extract have no meaning where the vectors are given, but for one named here."""
    if clash := [name for name in typed(context, MODEL, DATA, WORK) if name != but]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in clash)
        raise InputError(f"--embeddings says what to measure: leave out {flags}")


def typed(context: click.Context, *groups: list[click.Option]) -> dict[str, Any]:
    """What the command line has for the options of these groups, without their defaults."""
    line = click.core.ParameterSource.COMMANDLINE
    return {name: context.params[name] for name in names(*groups) if context.get_parameter_source(name) == line}


def page_options(context: click.Context, given: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """What was asked of a page; InputError if something was, and no page is written."""
    if out is not None and out.suffix == ".html":
        return {"thumbnails": not given["no_thumbnails"], "points": given["points"]}
    if idle := list(typed(context, PAGE)):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise InputError(f"{flags} is of a page: --out FILE.html writes one")
    return {}


def logit_scale(scale: float | None, temperature: float | None) -> float | None:
    """One logit scale from two ways to say it; None if neither is given."""
    if scale is not None and temperature is not None:
        raise InputError("--logit-scale S is the same as --temperature 1/S: give one of them")
    return scale if temperature is None else 1 / temperature


def term_weights(given: Sequence[str]) -> dict[str, float] | None:
    """The weights of mixed terms from TERM=X words; None if there are none."""
    if not given:
        return None
    weights = {}
    for word in given:
        term, _, value = word.partition("=")
        try:
            weights[term.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise InputError(f"--weight {word!r}: write TERM=X, for example m2_mix=0.02") from None
    return weights


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
        # a page says what it was made with
        with app.make_context("geomclip", list(arguments), obj=shlex.join(["geomclip", *arguments])) as context:
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
        message, code = f"interrupted; {kept}", INTERRUPTED
    except click.ClickException as error:
        message, code = usage_message(error), error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        message, code = explain(error)
    finally:
        speak_of_flags(False)
    with suppress(OSError):
        sys.stderr.write(f"geomclip: error: {message}\n")
    return code
