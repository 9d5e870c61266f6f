"""The figures of a page: which there are, what each is called and says, drawn by `geomclip.plots.interactive`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geomclip.machine.errors import GeomclipError, NotAvailableError
from geomclip.machine.progress import Progress
from geomclip.panels.directions import DIRECTIONS
from geomclip.panels.record import Panel
from geomclip.reports.course import KEYS, path_of
from geomclip.reports.signs import plain
from geomclip.reports.spaces import Space

if TYPE_CHECKING:
    from plotly import graph_objects as go

    from geomclip.projections.maps import Map

QUERIES = {
    "image_retrieval": f"queries {DIRECTIONS['image_retrieval']}",
    "text_retrieval": f"queries {DIRECTIONS['text_retrieval']}",
    "zeroshot": "images looking for their class",
}
SPHERE = (
    "Each dot lies on the unit sphere, as the vectors do in their many dimensions. Each cloud is as wide, and both are "
    "as far apart, as in the full space; angles between dots follow the true ones as far as they can. What the "
    "picture keeps of it is told below it."
)
PLANE = "The two directions in which the vectors vary most: nothing is bent, much is left out."


@dataclass(frozen=True)
class Figure:
    """A drawing with its heading and text; or, in its place, why there is none."""

    name: str
    heading: str
    text: str
    figure: Any = None  # as JSON has it
    absent: str = ""
    wide: bool = False
    still: str = ""  # HTML that is seen until the figure is drawn, and printed in its place
    of_items: bool = False  # it stands with the pairs and hubs, not with the other pictures


def maps_of(spaces: Sequence[Space], *, seed: int, progress: Progress, color: str | None = None) -> list[Figure]:
    """The sphere and the plane of one space, or of two side by side; `color` is a column of the images."""
    from geomclip.plots import interactive
    from geomclip.plots.still import still
    from geomclip.projections.maps import PointSet, project, project_pair

    # the same points for both maps: neighbours and distances in full dimension are found once
    points = [PointSet.of(space.embeddings) for space in spaces]

    names = [space.name for space in spaces]
    stills: dict[str, str] = {}

    def drawn(method: str, one: str, two: str) -> go.Figure:
        maps: Sequence[Map]
        if len(points) == 1:
            maps = [project(points[0], method, random_state=seed, progress=progress)]
        else:
            maps = project_pair(points[0], points[1], method, random_state=seed, progress=progress)
        # the page itself shows thumbnail and words at the pointer
        more: dict[str, Any] = {"names": names} if len(maps) == 2 else {}
        figure: go.Figure = getattr(interactive, one if len(maps) == 1 else two)(
            *maps, hover=False, color=color, **more
        )
        if one == "sphere":
            stills[one] = plain(still(maps, names, color=color))
        return figure

    by = f" Colours: {color}, of each text that of its image; round dots are images." if color else ""
    sphere = _tried("sphere", "On the sphere", SPHERE + by, drawn, "angles", "sphere", "sphere_pair", wide=True)
    plane = _tried("plane", "On a plane", PLANE + by, drawn, "svd", "plane", "plane_pair", wide=True)
    return [replace(sphere, still=stills.get("sphere", "")), plane]


def figures_of(sides: Mapping[str, Panel], spaces: Sequence[Space], source: object = None) -> list[Figure]:
    """What there is to draw of panels ('' or before and after) and of their vectors, where they are at hand.

    If `source` is the folder of a training run, its way across the alignment-uniformity plane is drawn too.
    """
    return [*of_spaces(spaces), *of_panels(sides), *_plane_of_losses(sides, source)]


def of_spaces(spaces: Sequence[Space]) -> Iterator[Figure]:
    """Similarities, spectra and k-occurrence: a picture a space; spectra together."""
    from geomclip.plots import interactive

    for space in spaces:
        details, after = space.details, f", {space.name}" if space.name else ""
        yield _tried(
            named("similarities", space.name),
            f"Similarities{after}",
            "How the cosines of partners, of other pairs, and within each modality are spread.",
            interactive.similarities,
            details.edges,
            details.similarities,
            of_items=True,
        )
    if spaces:
        curves = {
            f"{modality}s{f' {space.name}' if space.name else ''}": values
            for space in spaces
            for modality, values in space.details.singular_values.items()
        }
        yield _tried(
            "spectrum",
            "Spectrum",
            "The share of each direction in the vectors, largest first: a steep curve uses few directions.",
            interactive.spectrum,
            curves,
        )
    for space in spaces:
        details, after = space.details, f", {space.name}" if space.name else ""
        if details.k_occurrence:
            yield _tried(
                named("occurrence", space.name),
                f"Hubs{after}",
                f"How often an item is among the {details.k} nearest of the other modality; a long tail is hubness.",
                interactive.k_occurrence,
                details.k_occurrence.get("image"),
                details.k_occurrence.get("text"),
                details.k,
                of_items=True,
            )


def of_panels(sides: Mapping[str, Panel]) -> Iterator[Figure]:
    """Reliability diagrams, and gap curves where they were measured."""
    from geomclip.plots import interactive

    for prefix, who in QUERIES.items():
        for side, panel in sides.items():
            bins = panel.reliability.get(prefix)
            if not bins:
                continue
            yield _tried(
                named(prefix, side),
                f"Reliability{f', {side}' if side else ''}",
                f"Confidence against accuracy of {who}: on the diagonal a model is as sure as it is right.",
                interactive.reliability,
                bins,
                panel.values.get(f"{prefix}_ece"),
                panel.ci.get(f"{prefix}_ece"),
            )
    for side, panel in sides.items():
        shift, ablation = (panel.curves.get(f"gap_{each}_curve") for each in ("shift", "ablation"))
        if shift or ablation:
            yield _tried(
                named("gap-curves", side),
                f"The gap closed{f', {side}' if side else ''}",
                "Retrieval as both clouds are moved together, and as the directions that differ most are removed.",
                interactive.gap_curves,
                shift,
                ablation,
                wide=True,
            )


def _plane_of_losses(sides: Mapping[str, Panel], source: object) -> Iterator[Figure]:
    from geomclip.plots import interactive

    points = {}
    for side, panel in sides.items():
        alignment, uniformity = (panel.values.get(key) for key in KEYS)
        if alignment is not None and uniformity is not None:
            points[side or panel.name or str(panel.made_from.get("model") or "this set")] = (alignment, uniformity)
    text = "Left: nearer to the own partner. Down: more evenly spread. Both are losses (Wang and Isola 2020)."
    try:
        path = path_of(source)
    except (GeomclipError, ValueError) as problem:
        path, text = [], f"{text} No path of the training: {problem}."
    if path:
        text = f"{text} The line is the way of the training, on its own probe pairs."
    if points:
        yield _tried(
            "plane-of-losses", "Alignment and uniformity", text, interactive.alignment_uniformity, points, path or None
        )


def named(name: str, side: str) -> str:
    """A picture's name, one a side."""
    return f"{name}-{side}" if side else name


def _tried(
    name: str,
    heading: str,
    text: str,
    make: Callable[..., go.Figure],
    *values: Any,
    wide: bool = False,
    of_items: bool = False,
) -> Figure:
    """The figure that `make` draws of the values; the reason in its place where they cannot be drawn."""
    try:
        figure = json.loads(make(*values).to_json(engine="json", remove_uids=True))
    except NotAvailableError:
        raise  # a missing package is no property of the set
    except ValueError as reason:  # too few points, all alike
        return Figure(name, heading, text, absent=f"Not drawn: {reason}.", wide=wide, of_items=of_items)
    return Figure(name, heading, text, figure, wide=wide, of_items=of_items)
