"""The page of what `ground predict` found: moments with their frames, the map of proposals, clips along time."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.grounding.predict import Answer, Found, Prediction, clock, prediction_json, shown
from geomclip.grounding.videos import EncodedVideo
from geomclip.machine.outputs import check_output_file
from geomclip.reports import commands
from geomclip.reports.figures import Figure
from geomclip.reports.page import Findings, Page, write

if TYPE_CHECKING:
    from plotly import graph_objects as go

FRAMES = 3
"""Pictures of a moment: after its start, in its middle, before its end."""
MOST_MOMENTS = 20
"""Rows of a query."""
MOST_PICTURES = 24
"""Maps and time lines of a page; each map of 64 clips takes 20 kB."""
MOST_LINES = 6
"""Queries in one time line."""
LEGEND = (
    "Score: how far the cosines of the moment's clips lie above what is usual in the video, as a share of all that "
    "lies above: 1 holds every clip that answers and no other. It compares moments of one video. Cosine: of the "
    "moment's mean row with the sentence; it compares videos, too.",
)


def write_page(prediction: Prediction, out: str | Path, *, command: str | None = None) -> Path:
    """One offline HTML page of a prediction.

    Parameters
    ----------
    prediction : Prediction
        With thumbnails, if frames are to be seen.
    out : path
        Its name ends in .html.
    command : str, optional
        What the foot says it was made with.

    Returns
    -------
    Path
        The page; the same prediction gives the same bytes.

    Raises
    ------
    InputError
        If it cannot be written.
    NotAvailableError
        If a package of the extra `viz` is not installed.
    """
    out = Path(out)
    check_output_file(out, ".html")
    return write(page_of(prediction, command or commands.called("reports.grounding.write_page", prediction, out)), out)


def page_of(prediction: Prediction, command: str) -> Page:
    """What the page of a prediction shows."""
    videos = prediction.videos
    read = [f"{name}: {_read(video)}" for name, video in zip(prediction.names, videos, strict=True)]
    notes = [f"{name}: {note}" for name, video in zip(prediction.names, videos, strict=True) for note in video.notes]
    model = str(prediction.made_from.get("model") or "an encoder")
    pictures = list(islice(_pictures(prediction), MOST_PICTURES + 1))
    more = len(pictures) > MOST_PICTURES
    return Page(
        kind="moments",
        kicker="Moments that a sentence describes",
        title=prediction.names[0] if len(videos) == 1 else f"{len(videos)} videos",
        lines=[*read[:4], *([f"and {len(read) - 4} more"] if len(read) > 4 else []), f"rows by {model}"],
        warnings=[*notes, *prediction.notes],
        tiles=(),
        groups=(),
        legend=LEGEND,
        findings=[_findings(prediction, number) for number in range(len(prediction.queries))],
        files={"moments.json": prediction_json(prediction) + "\n", "moments.csv": moments_csv(prediction)},
        made=[("", _made(prediction))],
        command=command,
        pictures=pictures[:MOST_PICTURES],
        notes=[f"only {MOST_PICTURES} pictures are drawn; moments.json has the scores of all"] if more else (),
    )


def moments_csv(prediction: Prediction) -> str:
    """A line a moment, the queries one after another, times in seconds."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["query", "rank", "video", "start", "end", "score", "cosine"])
    for number, query in enumerate(prediction.queries):
        for rank, found in enumerate(prediction.best(number), 1):
            moment, video = found.moment, prediction.videos[found.video].clips.video
            times = f"{moment.start:.3f}", f"{moment.end:.3f}"
            table.writerow([query, rank, video, *times, f"{moment.score:.6f}", f"{found.cosine:.6f}"])
    return text.getvalue()


def _findings(prediction: Prediction, number: int) -> Findings:
    best, many = prediction.best(number), len(prediction.videos) > 1
    heads = ["", *(["video"] if many else []), "start", "end", "score", "cosine"]
    rows = []
    for place, found in enumerate(best[:MOST_MOMENTS], 1):
        moment, name = found.moment, [prediction.names[found.video]] if many else []
        numbers = f"{moment.score:.2f}", f"{found.cosine:.3f}"
        rows.append(([f"{place}", *name, clock(moment.start), clock(moment.end), *numbers], _frames(prediction, found)))
    note = f"the first {MOST_MOMENTS} of {len(best)}" if len(best) > MOST_MOMENTS else ""
    return Findings(shown(prediction.queries[number]), heads, rows, note)


def _frames(prediction: Prediction, found: Found) -> list[str]:
    """Pictures of a moment as addresses that hold them, in the order of time; none twice."""
    moment, video = found.moment, prediction.videos[found.video]
    length = moment.end - moment.start
    times = [moment.start + length * (2 * place + 1) / (2 * FRAMES) for place in range(FRAMES)]
    pictures = dict.fromkeys(picture for time in times if (picture := video.thumbnail(time)))
    return [f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}" for picture in pictures]


def _pictures(prediction: Prediction) -> Iterator[Figure]:
    """Of each video the time line of its clips, then the map of each query."""
    from geomclip.plots import interactive

    many = len(prediction.videos) > 1
    for number, (name, video) in enumerate(zip(prediction.names, prediction.videos, strict=True)):
        answers = [prediction.answer(query, number) for query in range(len(prediction.queries))]
        of = f", {name}" if many else ""
        words = [f"{query + 1}: {shown(prediction.queries[query])}" for query in range(len(answers))]
        lines = {words[each.query]: each.clips.numpy() for each in answers[:MOST_LINES]}
        spans = {words[each.query]: _ends(each, video) for each in answers[:MOST_LINES]}
        figure = interactive.time_line(answers[0].edges.numpy(), lines, spans=spans, y="cosine with the sentence")
        text = "The cosine of each clip with each sentence; the best moment of each is shaded in its colour."
        yield Figure(f"time-{number}", f"Clips along time{of}", text, _plain(figure), wide=True)
        for answer in answers:
            figure = interactive.heat_map(
                answer.map.numpy(),
                rows=answer.edges.numpy(),
                columns=answer.edges.numpy(),
                x="end of the moment (s)",
                y="start of the moment (s)",
                of="score",
                marks={"best": answer.cells[0]},
            )
            text = "The score of every moment that was proposed, by where it starts and ends."
            yield Figure(f"map-{number}-{answer.query}", f"{words[answer.query]}{of}", text, _plain(figure))
            yield from _looks(answer, video, f"{number}-{answer.query}", f"{words[answer.query]}{of}")


def _looks(answer: Answer, video: EncodedVideo, place: str, of: str) -> Iterator[Figure]:
    """What is near to the best moment, and what its words and the moments are worth together."""
    from geomclip.plots import interactive

    best = "the best moment"
    if answer.interactions is not None:
        moments = [f"{clock(each.start)} – {clock(each.end)}" for each in answer.moments]
        figure = interactive.heat_map(
            answer.interactions.numpy(),
            rows=list(answer.words),
            columns=moments[: answer.interactions.shape[1]],
            of="interaction",
            about=0.0,
        )
        text = "What a word and a moment are worth together beyond what they are apart (Shapley interaction)."
        yield Figure(f"words-{place}", f"Words and moments, {of}", text, _plain(figure))
    if answer.near is not None:
        line = {"distance": answer.near.numpy()}
        figure = interactive.time_line(
            answer.edges.numpy(), line, spans={best: _ends(answer, video)}, y="distance (rad)"
        )
        text = "How far each clip is from the best moment along the graph of the video's moments."
        yield Figure(f"near-{place}", f"Neighbourhood, {of}", text, _plain(figure))


def _ends(answer: Answer, video: EncodedVideo) -> tuple[float, float]:
    best = answer.moments[0]
    return best.start, min(best.end, video.clips.duration)


def _plain(figure: go.Figure) -> Any:
    return json.loads(str(figure.to_json(engine="json", remove_uids=True)))


def _read(video: EncodedVideo) -> str:
    width, height = video.size
    frames = f"{video.frames:,} frames ({video.rate:.2g} a second)"
    return f"{clock(video.clips.duration)}, {width} x {height}, {frames}, {len(video.clips.rows)} clips"


def _made(prediction: Prediction) -> dict[str, str]:
    kept: Sequence[str] = ("model", "pretrained", "arch", "precision", "device", "weights_sha256")
    return {name: str(prediction.made_from[name]) for name in kept if prediction.made_from.get(name)}
