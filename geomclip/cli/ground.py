"""Arguments in, one call, result out: the commands of `geomclip ground`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geomclip.cli.commands import Commands, examples
from geomclip.cli.options import CACHE, COMMON, MODEL, SEED, number, path, positive, switch, whole
from geomclip.cli.terminal import progress_bar, stdout_console
from geomclip.machine.outputs import check_output_file

PREDICT = [
    click.Option(["--query"], metavar="TEXT", multiple=True, required=True, help="A sentence; may be given again."),
    path("--run", "FOLDER", "A trained run of `ground train`, in place of --model."),
    whole("--clips", "Clips that a video is cut into; default 16 to 64 by its duration.", at_least=1),
    whole("--top", "Moments for each query.", at_least=1, default=5),
    number("--suppress", "X", "A moment that overlaps a better one by more (intersection over union) is left out."),
    positive("--fps", "X", "Frames a second that are looked at; of a folder of frames: their rate."),
    whole("--batch-size", "Frames at a time.", at_least=1, default=64),
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
def predict(videos: tuple[Path, ...], **options: Any) -> None:
    """Find the moments of VIDEOs that a sentence describes: start, end, score.

    VIDEO is a video file or a folder of frames; with several the best moments over all of them are found too.
    """
    out: Path | None = options["out"]
    if out is not None:
        check_output_file(out)
    from geomclip.grounding.predict import predict as predicting

    with progress_bar(quiet=options["quiet"]) as progress:
        prediction = predicting(list(videos), list(options["query"]), progress=progress)
    stdout_console().print(str(prediction))
