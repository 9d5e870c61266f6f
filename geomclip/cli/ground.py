"""Arguments in, one call, result out: the commands of `geomclip ground`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from geomclip.cli.arguments import made_with, picked, typed
from geomclip.cli.commands import Commands, examples
from geomclip.cli.options import (
    ARCH,
    CACHE,
    COMMON,
    DATA_ROOT,
    DEBUG,
    KEEP_PATHS,
    MODEL,
    PRETRAINED,
    PROGRESS,
    SEED,
    number,
    path,
    positive,
    setting,
    switch,
    text,
    whole,
)
from geomclip.cli.terminal import progress_bar, say, say_json, stdout_console
from geomclip.grounding.methods import METHODS
from geomclip.grounding.settings import GroundingSettings
from geomclip.machine.errors import GateError, InputError
from geomclip.machine.files import atomic_json
from geomclip.machine.outputs import check_output_file

PREDICT = [
    click.Option(["--query"], metavar="TEXT", multiple=True, required=True, help="A sentence; may be given again."),
    whole("--clips", "Clips that a video is cut into; default 16 to 64 by its duration.", at_least=1),
    whole("--top", "Moments for each query.", at_least=1, default=5),
    click.Option(
        ["--suppress"],
        type=click.FloatRange(0, 1),
        metavar="X",
        default=0.5,
        help="Leave out moments that overlap a better one by more (intersection over union).",
    ),
    positive("--fps", "X", "Frames a second that are looked at; of a folder of frames: their rate."),
    whole("--batch-size", "Frames at a time.", at_least=1, default=32),
    path("--run", "FOLDER", "A finished run of `ground train` gives the scores, with its own model."),
    path("--out", "FILE", "Write the answer: .json, or .html (a page) by its name."),
    switch("--json", "Print the answer as JSON, not as a table.", "as_json"),
]


@click.group(cls=Commands, epilog=examples('geomclip ground predict video.mp4 --query "a dog jumps into the water"'))
def ground() -> None:
    """Find the moment of a video that a sentence describes."""


@ground.command(
    params=[
        click.Argument(["videos"], nargs=-1, required=True, type=click.Path(path_type=Path), metavar="VIDEO..."),
        *PREDICT,
        *MODEL,
        *SEED,
        *CACHE,
        *KEEP_PATHS,
        *COMMON,
    ],
    epilog=examples(
        'geomclip ground predict video.mp4 --query "a dog jumps into the water"',
        'geomclip ground predict video.mp4 --query "a dog" --query "a car" --out moments.html',
        'geomclip ground predict frames/ --fps 2 --query "a dog" --model ViT-B/32 --json',
        'geomclip ground predict video.mp4 --query "a dog" --run runs/mine',
    ),
)
@click.pass_context
def predict(context: click.Context, /, videos: tuple[Path, ...], **options: Any) -> None:
    """Find the moments of VIDEOs that a sentence describes: start, end, score.

    VIDEO is a video file or a folder of frames; with several the best moments over all of them are found too.
    """
    out: Path | None = options["out"]
    if out is not None:
        check_output_file(out)
        if out.suffix not in (".json", ".html"):
            raise InputError(f"--out {out} must be a file whose name ends in .json or .html")
    how = picked(options, MODEL, SEED, CACHE)
    how |= {name: options[name] for name in ("run", "clips", "top", "suppress", "fps", "batch_size")}
    if "model" not in typed(context, MODEL):
        how["model"] = None  # the run's, if there is one
    from geomclip.grounding import calls
    from geomclip.grounding.predict import prediction_json

    page = out is not None and out.suffix == ".html"
    with progress_bar(**picked(options, PROGRESS)) as progress:
        prediction = calls.ground(videos, options["query"], **how, page=page, progress=progress)
    if out is not None and page:
        from geomclip.reports import grounding

        grounding.write_page(prediction, out, command=made_with(context))
    elif out is not None:
        prediction.save(out)
    if options["as_json"]:
        say_json(prediction_json(prediction))
    else:
        say(prediction)


# ------------------------------------------------------------------------------------------------ check

READ = [  # how annotations are
    text("--format", "NAME", "charades, activitynet, tacos, qvhighlights or jsonl; default: by what a file holds."),
    path("--durations", "FILE", "Seconds of each video, JSON or csv, of files that do not say; as charades.json."),
]
CHECK = [
    *READ,
    whole("--clips", "Clips that a video is cut into; default what published models take.", at_least=1),
    path("--features", "PATH", "HDF5, or a folder of .npy: list the videos that it lacks."),
    switch("--fail-on-leak", "Exit 3 if two of the files share videos."),
    path("--out", "FILE.json", "Write all of it, with every moment left out and every video without features."),
    switch("--json", "Print it as JSON, not as a table.", "as_json"),
]


@ground.command(
    params=[
        click.Argument(["files"], nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."),
        *CHECK,
        *DEBUG,
    ],
    epilog=examples(
        "geomclip ground check charades_sta_train.txt charades_sta_test.txt",
        "geomclip ground check train.json val_1.json val_2.json --fail-on-leak",
        "geomclip ground check mine.jsonl --features c3d.hdf5 --out check.json",
    ),
)
def check(files: tuple[Path, ...], *, out: Path | None, as_json: bool, fail_on_leak: bool, **options: Any) -> None:
    """Say what annotation FILEs hold: their faults, what guesses reach in them, and what they share."""
    if out is not None:
        check_output_file(out, ".json")
    from geomclip.grounding.annotations import load_queries
    from geomclip.grounding.splits import check_splits, split_lines
    from geomclip.panels.lines import show

    held = [load_queries(file, format=options["format"], durations=options["durations"]) for file in files]
    found = check_splits(held, clips=options["clips"], features=options["features"])
    if out is not None:
        atomic_json(out, found.to_dict())
    if as_json:
        say_json(found.to_json())
    else:
        console = stdout_console()
        show(split_lines(found, console.width), console)
    sys.stdout.flush()
    if fail_on_leak and found.leaks:
        raise GateError(f"--fail-on-leak {'; '.join(found.leaks)}")


# ------------------------------------------------------------------------------------------------ train, score

SOURCES = [
    path("--annotations", "FILE", "Sentences with their moments: as `ground check` reads them.", required=True),
    *READ,
    path("--features", "PATH", "Rows of the videos: HDF5, or a folder of .npy."),
    path("--videos", "FOLDER", "In their place a folder of video files, which the model encodes."),
]
# without defaults: a resumed run has what it began with
ENCODER = [text("--model", "NAME", "Of the sentences, and of --videos; default demo."), PRETRAINED, ARCH]
TRAIN = [
    *SOURCES,
    path("--val", "FILE", "Annotations to choose the best weights by; default: a share of the videos."),
    path("--val-features", "PATH", "Of their videos; default --features."),
    number("--holdout", "SHARE", "That share; default 0.1."),
    path("--out", "FOLDER", "The run folder.", required=True),
    switch("--resume", "Go on from the newest checkpoint of --out, with what it began with."),
    switch("--override", "With --resume: go on although settings differ."),
    text("--method", "NAME", f"{', '.join(METHODS)}; default {GroundingSettings.method}."),
    switch("--json", "Print the scores as JSON, not as a table.", "as_json"),
]
LEARNING = [setting(each, GroundingSettings()) for each in fields(GroundingSettings) if each.metadata.get("help")]


@ground.command(
    params=[*TRAIN, *ENCODER, *LEARNING, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip ground train --annotations train.jsonl --videos films/ --method g2l --out runs/mine",
        "geomclip ground train --annotations charades_sta_train.txt --features vgg.hdf5 --val charades_sta_test.txt "
        "--preset mmn --out runs/charades",
        "geomclip ground train --annotations train.jsonl --videos films/ --out runs/mine --resume",
    ),
)
def train(*, quiet: bool, log_every: int, debug: bool, as_json: bool, **options: Any) -> None:
    """Train a model that finds moments, and score it on held-out videos before and after."""
    from geomclip.grounding.training import train as training

    with progress_bar(quiet=quiet, log_every=log_every) as progress:
        result = training(**options, progress=progress)
    say_json(result.to_json()) if as_json else say(result)


SCORE = [
    *SOURCES,
    path("--run", "FOLDER", "A finished run of `ground train`: its moments are scored."),
    path("--predictions", "FILE", "Moments of others: JSON {ID: [[START, END, SCORE], ...]}, or a list in the order."),
    path("--train", "FILE", "Annotations that best fixed and blind guess from; default: of the file, other videos."),
    path("--out", "FILE.json", "Write the scores."),
    switch("--json", "Print the scores as JSON, not as a table.", "as_json"),
]


@ground.command(
    params=[*SCORE, *ENCODER, *SEED, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip ground score --annotations test.jsonl --features c3d.hdf5 --run runs/mine",
        "geomclip ground score --annotations charades_sta_test.txt --predictions found.json --train train.txt",
    ),
)
def score(*, quiet: bool, log_every: int, debug: bool, as_json: bool, out: Path | None, **options: Any) -> None:
    """Score moments that were found against annotations, beside what guesses reach."""
    if out is not None:
        check_output_file(out, ".json")
    from geomclip.grounding.scoring import score_files

    with progress_bar(quiet=quiet, log_every=log_every) as progress:
        scored = score_files(**options, progress=progress)
    if out is not None:
        scored.save(out)
    say_json(scored.to_json()) if as_json else say(scored)


# ---------------------------------------------------------------------------------------------------- bench

BENCH = [
    text("--source", "NAME", "emoji, vectors, or a data set with captions (flickr8k; `geomclip data`).", "emoji"),
    path("--vectors", "FILE", "Of --source vectors: a store, .npz or .npy of pictures with their texts."),
    path("--out", "FOLDER", "A folder of this benchmark, or a new one; default runs/bench-NAME."),
    whole("--seeds", "Each composes its own train and draws its own weights.", at_least=1, default=5),
    click.Option(
        ["--dose"],
        type=click.FloatRange(0, 1),
        metavar="X",
        multiple=True,
        default=(0.0, 0.6),
        help="Share of the spare segments of train that repeat an annotated one; the first is compared with.",
    ),
    text("--rows", "NAMES", "With commas between; default all."),
    whole("--train", "Videos to train on.", at_least=1, default=800),
    whole("--val", "Videos of val.", at_least=2, default=150),
    whole("--test", "Videos of test.", at_least=2, default=300),
    whole("--steps", "Of 16 videos.", at_least=1, default=200),
    click.Option(["--lr"], type=click.FloatRange(0, 1, min_open=True), metavar="X", default=1e-3, help="Its peak."),
    whole("--processes", "Runs at a time, each on one thread.", at_least=1, default=2),
    switch("--json", "Print the table as JSON.", "as_json"),
]


@ground.command(
    params=[*BENCH, *MODEL, DATA_ROOT, *SEED, *CACHE, *KEEP_PATHS, *COMMON],
    epilog=examples(
        "geomclip ground bench --source emoji",
        "geomclip ground bench --source flickr8k --data-root FOLDER --model ViT-B/32",
        "geomclip ground bench --source vectors --vectors vectors.npz --seeds 3 --dose 0 --dose 0.9",
    ),
)
def bench(**options: Any) -> None:
    """Compare methods of grounding on videos composed of pictures, with repeats that nobody annotated.

    A folder that was begun is gone on with: what is there is not run again.
    """
    from geomclip.grounding.bench.rows import ROWS, Sizes
    from geomclip.grounding.bench.run import Plan
    from geomclip.grounding.bench.run import bench as running
    from geomclip.grounding.bench.sources import bank_of

    rows = tuple(name.strip() for name in options["rows"].split(",")) if options["rows"] else tuple(ROWS)
    sizes = Sizes(**{name: options[name] for name in ("train", "val", "test", "steps", "lr")})
    how = {"seeds": options["seeds"], "rows": rows, "sizes": sizes, "seed": options["seed"]}
    plan = Plan(tuple(options["dose"]), device=options["device"], **how)
    out = options["out"] or Path("runs") / f"bench-{options['source'].partition(':')[0]}"
    with progress_bar(**picked(options, PROGRESS)) as progress:
        extraction = picked(options, MODEL, [DATA_ROOT], SEED, CACHE)
        bank = bank_of(options["source"], vectors_file=options["vectors"], progress=progress, **extraction)
        table = running(bank, out, plan, processes=options["processes"], progress=progress)
    say_json(table.as_json()) if options["as_json"] else say(table.as_markdown())
