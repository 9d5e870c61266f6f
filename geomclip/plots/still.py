"""A sphere as HTML and SVG that no script draws: what a page shows before its scripts run, and what it prints.

It is what plotly draws once it runs: the same camera, the same pairs joined, the same colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.wording import worded
from geomclip.plots.arcs import graticule, great_circles, linked_rows
from geomclip.plots.camera import plotly_camera, unit
from geomclip.plots.coloring import SCALE, Coloring, coloring_of
from geomclip.plots.theme import GAP, IMAGE, LINK, TEXT

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

Rows = NDArray[np.float64]

MOST_DOTS = 4_000
"""Dots that are drawn; of more an even share, and the key says so. Each takes some 12 bytes."""
LINK_POINTS = 4_000
HALF = 500
"""Half the height of the drawing, in units of the SVG."""
FOCAL = HALF / math.tan(math.radians(22.5))
"""Plotly's scenes show 45 degrees."""
BOX = 2.2
"""Side of the box that a scene shows; it is 1 in the units of the camera."""
LIFT = 1.07
"""Radius of the means and of the arrow, as in the scenes."""
SLICES = 8
"""Of the near dots by their depth: in each those of one colour are one path."""
PLOTLYS_OWN = {"eye": {"x": 1.25, "y": 1.25, "z": 1.25}, "up": {"x": 0.0, "y": 0.0, "z": 1.0}}


def still(
    maps: Sequence[Map], names: Sequence[str] = ("",), *, links: bool | None = None, color: str | None = None
) -> str:
    """The spheres of these maps, seen from the camera of the first, their key above and what each keeps below.

    Parameters
    ----------
    maps : sequence of Map
        One, or before and after; of kind "sphere".
    names : sequence of str
        What each is called.
    links, color
        As in `plots.interactive.sphere`.

    Returns
    -------
    str
        HTML for a page with the style of `offline.style`; text in it is escaped. The same maps give the same text.
    """
    first, colors = maps[0], coloring_of(maps[0], color)
    camera = _Camera(plotly_camera(first) or PLOTLYS_OWN)
    globes = []
    for map, name in zip(maps, names, strict=True):
        label = escape(f"sphere, {map.facts()[0]}{f', {name}' if name else ''}")
        box = f"{-HALF} {-HALF} {2 * HALF} {2 * HALF}"
        drawing = "".join(_globe(map, camera, links, colors))
        heading = f"<b>{escape(name)}</b><br>" if name else ""
        facts = "<br>".join(escape(line) for line in map.facts())
        globes.append(
            f'<div><svg viewBox="{box}" role="img" aria-label="{label}">{drawing}</svg>'
            f'<p class="facts">{heading}{facts}</p></div>'
        )
    many = " pair" if len(maps) > 1 else ""
    return f'<div class="still{many}"><ul class="key">{_key(first, links, colors)}</ul>{"".join(globes)}</div>'


class _Camera:
    """Right, up and depth of rows as plotly's perspective shows them."""

    def __init__(self, camera: dict[str, dict[str, float]]) -> None:
        eye, up = (np.array([camera[name][axis] for axis in "xyz"]) for name in ("eye", "up"))
        self.away = float(np.linalg.norm(eye)) * BOX
        toward = eye / np.linalg.norm(eye)
        right = unit(np.cross(up, toward))
        assert right is not None
        self.frame = np.stack([right, np.cross(toward, right), toward])

    def seen(self, rows: NDArray[np.floating]) -> Rows:
        """Places (·, 2) in the SVG, whose y goes down, and the depth towards the eye (·, 1)."""
        turned = np.asarray(rows, dtype=np.float64) @ self.frame.T
        scale = FOCAL / (self.away - turned[:, 2:])
        return np.concatenate([turned[:, :2] * scale * [1, -1], turned[:, 2:]], axis=1)

    @property
    def rim(self) -> float:
        """Depth from which on a point of the sphere is on the near side."""
        return 1 / self.away

    @property
    def radius(self) -> float:
        """Of the outline of the sphere."""
        return FOCAL / math.sqrt(self.away**2 - 1)


def _globe(map: Map, camera: _Camera, shown: bool | None, color: Coloring | None) -> Iterator[str]:
    net = camera.seen(graticule())
    link = camera.seen(_links(map, shown))
    dots = list(_dots(map, camera, color))
    yield _line(net, net[:, 2] < camera.rim, "net far")
    yield _line(link, link[:, 2] < camera.rim, "link far")
    yield from (path for near, path in dots if not near)
    yield f'<circle class="ball" r="{camera.radius:.1f}"/>'
    yield _line(net, net[:, 2] >= camera.rim, "net")
    yield _line(link, link[:, 2] >= camera.rim, "link")
    yield from (path for near, path in dots if near)
    yield from _means(map, camera)


def _links(map: Map, shown: bool | None) -> NDArray[np.float32]:
    if map.text is None or map.image_of_text is None or not len(map.text):
        return np.zeros((0, 3), dtype=np.float32)
    rows = linked_rows(len(map.text), shown)
    return great_circles(map.image[map.image_of_text[rows]], map.text[rows], most_points=LINK_POINTS)


def _dots(map: Map, camera: _Camera, color: Coloring | None) -> Iterator[tuple[bool, str]]:
    """Whether it is near, and a path of dots, from back to front: round ones of images, square ones of texts."""
    parts = [(map.image, "image", IMAGE), *([] if map.text is None else [(map.text, "text", TEXT)])]
    total = sum(len(rows) for rows, _, _ in parts)
    at: list[Rows] = []
    sign: list[str] = []
    shade: list[str] = []
    for rows, modality, own in parts:
        kept = np.arange(_share(len(rows), total)) * len(rows) // max(1, _share(len(rows), total))
        at.append(camera.seen(rows[kept]))
        sign += [modality] * len(kept)
        shade += [own] * len(kept) if color is None else color.colors(modality)[kept].tolist()
    places = np.concatenate(at)
    looks = [f"{one} {other}" for one, other in zip(sign, shade, strict=True)]
    near = places[:, 2] >= camera.rim
    order = np.argsort(places[:, 2], kind="stable")
    slices = [order[~near[order]], *np.array_split(order[near[order]], SLICES)]
    size = float(np.clip(260 / max(total, 1) ** 0.4, 7, 26))
    for depth, slice in enumerate(slices):
        for look in sorted({looks[row] for row in slice}):
            modality, shade_of = look.split()
            alike = places[[row for row in slice if looks[row] == look]]
            ends = "".join(f"M{x:.0f} {y:.0f}h0" for x, y, _ in alike)
            side = 0.85 if modality == "text" else 1.0
            far = "" if depth else " far"
            width = f"{side * size:.1f}"
            yield depth > 0, f'<path class="{modality}{far}" stroke="{shade_of}" stroke-width="{width}" d="{ends}"/>'


def _share(count: int, total: int) -> int:
    return count if total <= MOST_DOTS else count * MOST_DOTS // total


def _line(places: Rows, kept: NDArray[np.bool_], kind: str) -> str:
    """A path through these places, broken where one is not kept or NaN; what crosses the rim is on both sides."""
    there = kept & ~np.isnan(places[:, 0])
    last = np.isnan(places[:, 0])
    reach = there.copy()
    reach[1:] |= there[:-1] & ~last[1:]
    reach[:-1] |= there[1:] & ~last[:-1]
    pen, parts = "M", []
    for (x, y, _), on in zip(places, reach, strict=True):
        if on:
            parts.append(f"{pen}{x:.0f} {y:.0f}")
        pen = "L" if on else "M"
    return f'<path class="{kind}" d="{"".join(parts)}"/>' if parts else ""


def _means(map: Map, camera: _Camera) -> Iterator[str]:
    """The arrow of the gap and a diamond a mean, as far as there are directions."""
    ends = [unit(map.image_mean), None if map.text is None else unit(map.text_mean)]
    if ends[0] is not None and ends[1] is not None:
        start, end = (each.astype(np.float32)[None] for each in (ends[0], ends[1]))
        line = camera.seen(LIFT * great_circles(start, end)[:-1])
        yield _line(line, np.ones(len(line), dtype=np.bool_), "gap")
        (x, y, _), (from_x, from_y, _) = line[-1], line[-2]
        turn = math.degrees(math.atan2(y - from_y, x - from_x))
        yield f'<path class="tip" transform="translate({x:.0f} {y:.0f}) rotate({turn:.0f})" d="M-12 0l-26 -17v34z"/>'
    for mean, shade in zip(ends, (IMAGE, TEXT), strict=True):
        if mean is not None:
            x, y, _ = camera.seen(LIFT * mean[None])[0]
            yield f'<path class="mean" fill="{shade}" d="M{x:.0f} {y - 17:.0f}l17 17l-17 17l-17 -17z"/>'


def _key(map: Map, shown: bool | None, color: Coloring | None) -> str:
    """Entries as the buttons of the drawn figure have them."""
    total = len(map.image) + (0 if map.text is None else len(map.text))
    some = "" if total <= MOST_DOTS else f" ({MOST_DOTS:,} dots drawn)"
    entries = [
        (IMAGE if color is None else "currentColor", "round", f"{len(map.image):,} {worded(map, 'images')}{some}")
    ]
    if map.text is not None:
        kind = "classes" if map.image_of_text is None else worded(map, "texts")
        entries.append((TEXT if color is None else "currentColor", "turned", f"{len(map.text):,} {kind}"))
        count = len(map.text)
        drawn = 0 if map.image_of_text is None else len(linked_rows(count, shown))
        if drawn:
            entries.append((LINK, "line", f"{count:,} pairs" if drawn == count else f"{drawn:,} of {count:,} pairs"))
        if unit(map.image_mean) is not None and unit(map.text_mean) is not None:
            entries.append((GAP, "line", "means and gap"))
    if color is not None:
        if not color.groups:
            scale = f"linear-gradient(90deg, {', '.join(SCALE)})"
            entries.append((scale, "scale", f"{color.column}, {color.low:g} to {color.high:g}"))
        entries += [(code, "", name) for name, code in color.palette()]
    return "".join(
        f'<li><span class="swatch {form}" style="background: {shade}"></span>{escape(name)}</li>'
        for shade, form, name in entries
    )
