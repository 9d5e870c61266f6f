"""Arguments in, one call, result out: the commands of `geomclip ground`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from geomclip.cli.arguments import picked
from geomclip.cli.commands import Commands, examples
from geomclip.cli.options import CACHE, COMMON, DEBUG, MODEL, SEED, path, positive, switch, text, whole
from geomclip.cli.terminal import progress_bar, stdout_console
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
        *COMMON,
    ],
    epilog=examples(
        'geomclip ground predict video.mp4 --query "a dog jumps into the water"',
        'geomclip ground predict video.mp4 --query "a dog" --query "a car" --out moments.html',
        'geomclip ground predict frames/ --fps 2 --query "a dog" --model ViT-B/32 --json',
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
    how |= {name: options[name] for name in ("clips", "top", "suppress", "fps", "batch_size")}
    from geomclip.grounding.predict import predict as predicting

    page = out is not None and out.suffix == ".html"
    with progress_bar(quiet=options["quiet"]) as progress:
        prediction = predicting(videos, options["query"], **how, thumbnails=page, progress=progress)
    if out is not None and page:
        from geomclip.reports.grounding import write_page

        write_page(prediction, out, command=context.obj)
    elif out is not None:
        prediction.save(out)
    if options["as_json"]:
        click.echo(json.dumps(prediction.to_dict(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(prediction))


# ------------------------------------------------------------------------------------------------ check

CHECK = [
    text("--format", "NAME", "charades, activitynet, tacos, qvhighlights or jsonl; default: by what a file holds."),
    path("--durations", "FILE", "Seconds of each video, JSON or csv, of files that do not say; as charades.json."),
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
        click.echo(found.to_json())
    else:
        console = stdout_console()
        show(split_lines(found, console.width), console)
    sys.stdout.flush()
    if fail_on_leak and found.leaks:
        raise GateError(f"--fail-on-leak {'; '.join(found.leaks)}")
