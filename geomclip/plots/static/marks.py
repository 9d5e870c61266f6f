"""How images, texts and what joins them look in every static picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba_array
from matplotlib.markers import MarkerStyle
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import Stroke
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from geomclip.embeddings.wording import worded
from geomclip.plots.coloring import SCALE, Coloring
from geomclip.plots.static.canvas import KEY, MARGIN, QUIET, Picture, width_of, wrapped
from geomclip.plots.theme import GAP, IMAGE, TEXT

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

LOOKS: dict[str, dict[str, Any]] = {
    "image": {"color": IMAGE, "marker": "o"},
    "text": {"color": TEXT, "marker": "D"},
}
"""Colour and sign: told apart in print without colour too, where points are not too small."""

LINK = "#7a828e"
HEAD = 5.0
"""Points: from the middle of the sign of a mean to its edge, and about half the length of an arrow's head."""

MOST_LINKS = 200
"""Links that are drawn unless there are to be more: beyond, they hide the points."""

DENSE = 2000
"""Points from which on a cloud is kept as pixels in .svg and .pdf: as shapes they would take megabytes."""

BAR, BAR_WIDTH = 5.0, 30.0
"""Millimetres: of the line with the scale of colours, and of the scale itself."""

_DIAMOND = 0.85  # of the circle's size: looks as large


def key_of(map: Map, links: int, *, mean: bool, color: Coloring | None = None) -> list[tuple[str, Mapping[str, Any]]]:
    """The key of a map of which so many links are drawn."""
    looks = LOOKS if color is None else {name: {**look, "color": QUIET} for name, look in LOOKS.items()}
    groups: list[tuple[str, Mapping[str, Any]]] = [
        (name, {"color": code, "marker": "s"}) for name, code in ([] if color is None else color.palette())
    ]
    key: list[tuple[str, Mapping[str, Any]]] = [(worded(map, _counted(len(map.image), "image")), looks["image"])]
    if map.text is None:
        return key + groups
    count = len(map.text)
    key.append((worded(map, _counted(count, "class" if map.image_of_text is None else "text")), looks["text"]))
    if links:
        name = _counted(count, "matched pair") if links == count else f"matched pairs, {links:,} of {count:,}"
        key.append((name, {"color": LINK, "linestyle": "-", "linewidth": 0.8}))
    if mean:
        # on a sphere they are directions: apart by as much as they say even where both means lie near its middle
        name = "mean directions, images to texts" if map.kind == "sphere" else "from mean image to mean text"
        key.append((worded(map, name), {"color": GAP, "linestyle": "-", "marker": ">", "linewidth": 1.6}))
    return key + groups


def room_of(color: Coloring | None) -> float:
    """Millimetres that a scale of colours takes above the drawing."""
    return 0.0 if color is None or color.groups else BAR


def scale(figure: Picture, color: Coloring | None, top: float) -> None:
    """The scale of colours with its ends and what it is of, below the height `top` in mm; groups have none."""
    if color is None or color.groups:
        return
    width, height = (inches * 25.4 for inches in figure.get_size_inches())
    middle = (top - BAR / 2) / height
    low, high = f"{color.low:g}", f"{color.high:g}"
    room = width - 2 * MARGIN - BAR_WIDTH - width_of(low, KEY) - width_of(high, KEY) - 6
    name = " ".join(wrapped(color.column, room, KEY, lines=1))
    x = MARGIN
    for text in (name, low):
        figure.text(x / width, middle, text, size=KEY, va="center_baseline")
        x += width_of(text, KEY) + 2
    axes = figure.add_axes((x / width, middle - 1 / height, BAR_WIDTH / width, 2 / height))
    shades = LinearSegmentedColormap.from_list("scale", SCALE)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=shades)
    axes.axis("off")
    figure.text((x + BAR_WIDTH + 2) / width, middle, high, size=KEY, va="center_baseline")


def _counted(count: int, what: str) -> str:
    more = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{more}"


def linked(map: Map, links: bool | None) -> NDArray[np.int64]:
    """Rows of the texts whose link is drawn: all (True), none (False), or an even share of at most `MOST_LINKS`."""
    if links is False or map.text is None or map.image_of_text is None:
        return np.zeros(0, np.int64)
    count = len(map.text)
    shown = count if links else min(count, MOST_LINKS)
    return np.arange(shown, dtype=np.int64) * count // max(1, shown)


def check_same_rows(before: Map, after: Map) -> None:
    """Refuse two maps that are not of the same items."""
    shapes = [(len(each.image), 0 if each.text is None else len(each.text)) for each in (before, after)]
    if shapes[0] != shapes[1]:
        counts = [f"{images} images and {texts} texts" for images, texts in shapes]
        raise ValueError(f"before has {counts[0]}, after {counts[1]}: the rows of both must be the same items")


def size_of(count: int, area: float) -> float:
    """Area of one point (points²) so that `count` of them cover about a fifth of `area`; never too small to see."""
    return min(16.0, max(0.6, 0.2 * area / max(1, count)))


def opacity_of(count: int) -> float:
    """Less for many points, so that dense regions show."""
    return min(0.9, max(0.35, 1.3 - 0.2 * math.log10(max(1, count))))


def points(
    axes: Axes,
    image: NDArray[Any],
    text: NDArray[Any],
    order: NDArray[np.int64],
    *,
    size: float,
    opacity: float,
    zorder: float,
    color: Coloring | None = None,
) -> None:
    """Images and texts (·, 2) in one cloud, drawn in `order` (n + m,), so that neither hides the other."""
    if not len(order):
        return
    is_text = order >= len(image)
    if color is None:
        named, place = np.array([IMAGE, TEXT]), is_text.astype(np.intp)
    else:
        named, place = np.unique(
            np.concatenate([color.colors("image"), color.colors("text")])[order], return_inverse=True
        )
    colors = to_rgba_array(named.tolist())[place]  # numbers: matplotlib reads a name at a time
    paths = []
    for sign in ("o", "D"):
        marker = MarkerStyle(sign)
        paths.append(marker.get_path().transformed(marker.get_transform()))
    cloud = PathCollection(
        [paths[int(which)] for which in is_text],
        sizes=size * np.where(is_text, _DIAMOND, 1.0),
        offsets=np.concatenate([image, text])[order],
        offset_transform=axes.transData,
        facecolors=colors,
        alpha=opacity,
        linewidths=0,
        zorder=zorder,
        clip_on=False,
        rasterized=len(order) > DENSE,
    )
    cloud.set_transform(IdentityTransform())
    axes.add_collection(cloud, autolim=False)


def lines(axes: Axes, paths: NDArray[Any], *, zorder: float, faded: bool = False) -> None:
    """Links, polylines (l, s, 2) that may be broken by NaN; the more, the fainter."""
    opacity = min(0.6, max(0.1, 6 / len(paths) ** 0.6)) * (0.3 if faded else 1)
    axes.add_collection(
        LineCollection(
            list(paths),
            colors=LINK,
            linewidths=0.45,
            alpha=opacity,
            zorder=zorder,
            rasterized=len(paths) > DENSE,
        ),
        autolim=False,
    )


def arrow(
    axes: Axes, path: NDArray[Any], *, unit: float, zorder: float, head: bool = True, opacity: float = 1.0
) -> None:
    """The gap along a polyline (s, 2) that may be broken by NaN, with a white edge; its head at the last vertex.

    `unit` is what one unit of the axes measures in points: a head is drawn where there is room for one.
    """
    edge = [Stroke(linewidth=3.2, foreground="white", alpha=0.8), Stroke()]
    look: dict[str, Any] = {"color": GAP, "linewidth": 1.6, "solid_capstyle": "butt", "zorder": zorder}
    axes.plot(*path.T, path_effects=edge if opacity == 1 else None, alpha=opacity, clip_on=False, **look)
    away = np.linalg.norm(path - path[-1], axis=1) * unit  # NaN where the path is broken
    far = np.flatnonzero(away > 3 * HEAD)
    if not (head and len(far)):
        return
    start, end = path[far[-1]], path[-1]
    tip = FancyArrowPatch(
        (float(start[0]), float(start[1])),
        (float(end[0]), float(end[1])),
        arrowstyle="-|>",
        mutation_scale=2.4 * HEAD,
        shrinkA=0,
        shrinkB=HEAD,  # it ends at the edge of the sign of the mean
        color=GAP,
        linewidth=0,
        clip_on=False,
        zorder=zorder + 0.1,
    )
    axes.add_patch(tip)


def mean(axes: Axes, at: NDArray[Any], modality: str, *, zorder: float) -> None:
    """The mean of a modality: its sign, large, with a white and a dark edge."""
    look: dict[str, Any] = {**LOOKS[modality], "linestyle": "none", "clip_on": False, "zorder": zorder}
    for edge, width in (("#1b1f24", 2.2), ("white", 1.0)):
        axes.plot(*at, markersize=6.5, markeredgecolor=edge, markeredgewidth=width, **look)
