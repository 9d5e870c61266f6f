"""plot_sphere: both modalities on a sphere, as a figure to turn and as files: a page that works offline, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.errors import InputError
from geomclip.machine.extras import optional
from geomclip.machine.files import atomic_bytes
from geomclip.machine.outputs import check_output_file
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import nearest, option, typed
from geomclip.panels.naming import checked
from geomclip.plots.coloring import check_column

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.embeddings.record import EmbeddingSet
    from geomclip.plots.static.canvas import Picture
    from geomclip.projections.maps import Map
    from geomclip.projections.maps.cloud import Drawable

ON_SPHERE = {"angles": "angles", "dosnes": "dosnes", "umap": "umap-sphere", "umap-sphere": "umap-sphere"}
"""What `method` may be, and the projection that it means: those that place points on a sphere."""

STATIC = (".png", ".svg", ".pdf")
WRITTEN = (".html", *STATIC)
DEFAULT_OUT = (Path("geomclip-sphere.html"), Path("geomclip-sphere.png"))
"""What `geomclip plot-sphere` writes where no --out says otherwise."""

SIDES = ("before", "after")
"""What two sets are called that have no names."""

MADE_FROM = ("model", "pretrained", "weights_sha256", "dataset", "split", "precision")
"""What of a set the foot of the page says, where it is known."""


def plot_sphere(
    embeddings: Drawable,
    after: Drawable | None = None,
    *,
    method: str = "angles",
    captions: str = "all",
    links: bool | None = None,
    color: str | None = None,
    morph: bool = False,
    intersect: bool = False,
    out: str | Path | Sequence[str | Path] | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    random_state: int = 0,
    command: str = "",
    progress: Progress = SILENT,
    **options: Any,
) -> Figure:
    """Both modalities on a sphere: pairs joined along great circles, mean directions, the gap as an arrow.

    Parameters
    ----------
    embeddings : EmbeddingSet or PointSet
        Before, if there is an `after`.
    after : EmbeddingSet or PointSet, optional
        The same images and texts, in any order: both are drawn on common axes.
    method : str
        "angles", "dosnes" or "umap": the methods that place points on a sphere.
    captions : str
        "all", or "first": one text an image.
    links : bool, optional
        All, or none. Left out: an even share of at most a few hundred, and the legend says so.
    color : str, optional
        Column of the images, or "label" of class data, that gives the colours: groups, the most frequent by name, or
        numbers on a scale. Images are then circles and texts diamonds. Left out: a colour a modality.
    morph : bool
        With `after`: return one globe with a slider in place of two side by side; a page has both.
    intersect : bool
        With `after`: draw what both have where the sets differ; else they are refused.
    out : path or sequence of paths, optional
        Files to write too: .html (a page that needs no network), .png, .svg, .pdf. Each whole or not at all.
    title : str, optional
        Left out: model and data.
    names : sequence of str, optional
        What the set, or the sets before and after, are called in place of their models.
    random_state : int
        Same seed, same machine: same picture.
    command : str
        What the foot of the page says that it was made with.
    progress : Progress, optional
        Takes how far each stage is.
    **options
        Of the estimator in `geomclip.projections`.

    Returns
    -------
    plotly.graph_objects.Figure
        Shows itself in a notebook, with a still picture beside for exporters. `figure.show()` opens it elsewhere.

    Raises
    ------
    InputError
        If the method or a file's extension is unknown, a file cannot be written, a package is missing, there is no
        column `color`, or it has too many different texts.
    ValueError
        If there are too few points, names are too many, too few or the same, or both sets are not of the same items.
    """
    if after is None and (morph or intersect):
        raise InputError(f"{'morph' if morph else 'intersect'} is of two sets: give after, too")
    called = check_names(names, pair=after is not None)
    files = check([out] if isinstance(out, str | Path) else out or (), method)
    check_column(color, set_of(embeddings).attributes())
    options |= {"captions": captions, "random_state": random_state, "progress": progress}
    maps = _maps(embeddings, after, ON_SPHERE[method], intersect=intersect, **options)
    title = title_of(embeddings, after, called) if title is None else title
    warn_of(maps, progress)
    for path in files:
        _write(path, maps, called, links=links, color=color, title=title, command=command)
    figure = _figure(maps, called, links=links, color=color, title=title, morph=morph)
    return _with_still(figure, maps, called, links=links, color=color, title=title)


def check(out: Sequence[str | Path], method: str = "angles") -> list[Path]:
    """The files to write, once it is sure that they can be: before any long work.

    Raises
    ------
    InputError
        If the method or the extension of a file is unknown (with what there is), a file is named twice or cannot be
        written to, or a package is missing.
    """
    if method not in ON_SPHERE:
        raise InputError(_no_sphere(method))
    files = [Path(path).expanduser() for path in out]
    for path in files:
        if path.suffix.lower() not in WRITTEN:
            raise InputError(f"{path} must end in {', '.join(WRITTEN[:-1])} or {WRITTEN[-1]}")
        if files.count(path) > 1:
            raise InputError(f"{option('out')} {path} is given twice")
        check_output_file(path)
    kinds = {path.suffix.lower() for path in files}
    wanted = {"plotly.graph_objects": True, "jinja2": ".html" in kinds, "matplotlib": not kinds.isdisjoint(STATIC)}
    for module in (name for name, needed in wanted.items() if needed):
        optional(module, "plot-sphere")
    return files


def check_names(names: Sequence[str] | None, *, pair: bool) -> list[str]:
    """The names of the set that is drawn, or of two; ValueError if they are too many, too few or the same."""
    return checked(names, 2 if pair else 1)


def _no_sphere(method: str) -> str:
    from geomclip.projections import PROJECTIONS

    there = "angles, dosnes or umap"
    if method in PROJECTIONS:
        # directions of its coordinates could be drawn, but they are no longer what the method is for
        call = f"geomclip.project(embeddings, {method!r}) draws it"
        plane = typed(f"geomclip project --method {method} draws it", call)
        return f"{method} places points on a plane, not on a sphere: {plane}; here {there}"
    return f"no method {method!r}{nearest(method, list(ON_SPHERE)) or f'; for a sphere {there}'}"


def _maps(embeddings: Drawable, after: Drawable | None, method: str, *, intersect: bool, **options: Any) -> list[Map]:
    """One map, or those of both sets on common axes."""
    from geomclip.projections.maps import project, project_pair

    if after is None:
        return [project(embeddings, method, **options)]
    return list(project_pair(embeddings, after, method, intersect=intersect, **options))


def set_of(source: Drawable) -> EmbeddingSet:
    """The set that is drawn, also where its points are at hand."""
    from geomclip.embeddings.record import EmbeddingSet

    return source if isinstance(source, EmbeddingSet) else source.set


def _figure(
    maps: Sequence[Map], names: Sequence[str], *, links: bool | None, color: str | None, title: str, morph: bool
) -> Figure:
    from geomclip.plots import interactive

    how: dict[str, Any] = {"links": links, "title": title, "color": color}
    if len(maps) == 1:
        return interactive.sphere(maps[0], **how)
    return interactive.sphere_pair(maps[0], maps[1], morph=morph, names=names or SIDES, **how)


def _write(
    path: Path,
    maps: Sequence[Map],
    names: Sequence[str],
    *,
    links: bool | None,
    color: str | None,
    title: str,
    command: str,
) -> None:
    if path.suffix.lower() == ".html":
        from geomclip.plots.still import still

        figures = _figures(maps, names, links=links, color=color)
        shown = (names or SIDES) if len(maps) == 2 else ("",)
        stills = {next(iter(figures)): still(maps, shown, links=links, color=color)}
        write_page(path, figures, maps, title=title, command=command, stills=stills)
        return
    from geomclip.plots import static

    static.save(_picture(maps, names, links=links, color=color, title=title), path)


def _picture(maps: Sequence[Map], names: Sequence[str], **how: Any) -> Picture:
    """The still picture, by matplotlib."""
    from geomclip.plots import static
    from geomclip.plots.static.canvas import PAGE

    if len(maps) == 1:
        return static.sphere(maps[0], width=PAGE, **how)
    return static.sphere_pair(maps[0], maps[1], names=names or SIDES, width=PAGE, **how)


def _with_still(figure: Figure, maps: Sequence[Map], names: Sequence[str], **how: Any) -> Figure:
    """The figure with its still picture beside, which is drawn where a notebook shows it."""
    from geomclip.plots.notebook import WithStill

    def png() -> bytes:
        from geomclip.plots.static.canvas import rendered

        return rendered(_picture(maps, names, **how), ".png")

    return WithStill(figure, png)


def _figures(maps: Sequence[Map], names: Sequence[str], *, links: bool | None, color: str | None) -> dict[str, Figure]:
    """The figures of a page by their headings."""
    if len(maps) == 1:
        return {"": _figure(maps, names, links=links, color=color, title="", morph=False)}
    one, other = names or SIDES
    return {
        both_of(names): _figure(maps, names, links=links, color=color, title="", morph=False),
        f"The way from {one} to {other} (its ends are the maps; what lies between is only the way)": _figure(
            maps, names, links=links, color=color, title="", morph=True
        ),
    }


def both_of(names: Sequence[str]) -> str:
    """The heading of a picture of two sets."""
    return " and ".join(names) if names else "Before and after"


def warn_of(maps: Sequence[Map], progress: Progress) -> None:
    """Tell those who wait of each map whose widths or gap mislead, and what draws them as they are."""
    for name, drawn in zip(("before", "after") if len(maps) == 2 else ("",), maps, strict=True):
        if drawn.misleads():
            side = f" ({name})" if name else ""
            progress.log(f"geomclip: warning: {drawn.method}{side}: {drawn.moments()}; method angles keeps them")


def write_page(
    path: Path,
    figures: Mapping[str, Figure],
    maps: Sequence[Map],
    *,
    title: str,
    command: str,
    stills: Mapping[str, str] | None = None,
) -> None:
    """A page with these figures, what is noted of their maps, and what they were made from; whole or not at all."""
    from geomclip.plots import offline

    notes = list(dict.fromkeys(note for drawn in maps for note in drawn.notes))
    page = offline.page(figures, title, notes, foot=foot_of(maps, command), stills=stills)
    atomic_bytes(path, page.encode("utf-8", "surrogateescape"))


def foot_of(maps: Sequence[Map], command: str) -> dict[str, str]:
    """What the pictures were made from, by name; where both sides differ, both."""
    from geomclip.machine.version import __version__

    foot = {}
    for key in MADE_FROM:
        values = list(dict.fromkeys(str(map.made_from[key]) for map in maps if map.made_from.get(key)))
        if values:
            foot[key.replace("_", " ")] = " → ".join(values)
    foot["drawn by"] = f"geomclip {__version__}, {maps[0].method}" + "".join(
        f", {name} {value}" for name, value in maps[0].params.items() if isinstance(value, int | float | str)
    )
    return foot | ({"command": command} if command else {})


def title_of(embeddings: Drawable, after: Drawable | None, names: Sequence[str] = ()) -> str:
    """Names, else models, and data, as far as they are known."""
    sets = [each.made_from for each in (embeddings, after) if each is not None]
    models = names or [_known(made, "model") or _known(made, "file") for made in sets]
    model = " → ".join(dict.fromkeys(name for name in models if name)) or "Images and texts"
    data, split = (_known(embeddings.made_from, key) for key in ("dataset", "split"))
    return model + (f" on {data}" if data else "") + (f" ({split})" if data and split else "")


def _known(made_from: Mapping[str, Any], key: str) -> str:
    value = str(made_from.get(key) or "")
    return "" if value == "unknown" else value
