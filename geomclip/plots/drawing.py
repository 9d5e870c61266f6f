"""draw: a map of one set or of two as files, coordinates and a picture beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from geomclip.machine.errors import InputError
from geomclip.machine.extras import optional
from geomclip.machine.outputs import check_output_file
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import nearest, option
from geomclip.plots.coloring import check_column
from geomclip.plots.globe import SIDES, STATIC, both_of, check_names, set_of, title_of, warn_of, write_page
from geomclip.projections import PROJECTIONS
from geomclip.projections.maps.files import SUFFIXES as COORDINATES

if TYPE_CHECKING:
    from geomclip.projections.maps import Map
    from geomclip.projections.maps.cloud import Drawable

PICTURES = (*STATIC, ".html")
DEFAULT_OUT = Path("geomclip-map.csv")
"""What `geomclip project` writes where no --out says otherwise, with the picture beside it."""

# option of the command: what the estimators call it
NAMES: dict[str, dict[str, str]] = {
    "neighbors": {"umap": "n_neighbors", "umap-sphere": "n_neighbors", "heat-geodesic": "k"},
    "perplexity": {"tsne": "perplexity", "dosnes": "perplexity"},
    "min_dist": {"umap": "min_dist", "umap-sphere": "min_dist"},
}


class Files(NamedTuple):
    """What is written: coordinates (one file, or those before and after) and a picture."""

    coordinates: tuple[Path, ...]
    picture: Path


def draw(
    embeddings: Drawable,
    after: Drawable | None = None,
    *,
    method: str = "umap",
    n_components: int | None = None,
    out: str | Path = DEFAULT_OUT,
    intersect: bool = False,
    color: str | None = None,
    names: Sequence[str] | None = None,
    command: str = "",
    progress: Progress = SILENT,
    **options: Any,
) -> Files:
    """Draw a set, or two of the same items on common axes, and write coordinates and picture.

    Parameters
    ----------
    embeddings, after : EmbeddingSet or PointSet
    method, n_components, progress, **options
        As in `geomclip.projections.maps.project`.
    out : path
        The coordinates (.csv, .parquet, .npz, .json), then the picture is the .png beside it (of a space, the .html);
        or the picture (.png, .svg, .pdf, .html), then the coordinates are the .csv beside it. Of two sets there are
        two files of coordinates, STEM-before and STEM-after.
    intersect : bool
        With `after`: draw what both have where the sets differ; else they are refused.
    names : sequence of str, optional
        What the set, or the sets before and after, are called in the picture in place of their models.
    color : str, optional
        As in `plot_sphere`.
    command : str
        What the foot of a page says that it was made with.

    Returns
    -------
    Files

    Raises
    ------
    InputError, ValueError, NotAvailableError
        As `geomclip.projections.maps.project`; InputError also for a file that cannot be written and for a column that
        cannot colour, before anything is drawn.
    """
    from geomclip.projections.maps import project, project_pair

    called = check_names(names, pair=after is not None)
    files = check(out, method, n_components=n_components, pair=after is not None)
    check_column(color, set_of(embeddings).attributes())
    options |= {"n_components": n_components, "progress": progress}
    if after is None:
        maps: tuple[Map, ...] = (project(embeddings, method, **options),)
    else:
        maps = project_pair(embeddings, after, method, intersect=intersect, **options)
    warn_of(maps, progress)
    for drawn, path in zip(maps, files.coordinates, strict=True):
        drawn.save(path)
    _picture(files.picture, maps, title_of(embeddings, after, called), called, command, color)
    return files


def check(out: str | Path, method: str, *, n_components: int | None = None, pair: bool = False) -> Files:
    """The files to write, once it is sure that they can be: before any long work.

    Raises
    ------
    InputError
        If the method or the extension is unknown, a space is to be a still picture, or a file cannot be
        written.
    NotAvailableError
        If a package for the method or the picture is missing.
    """
    if method not in PROJECTIONS:
        raise InputError(f"no method {method!r}{nearest(method, list(PROJECTIONS)) or '; there are ' + _listed()}")
    out = Path(out).expanduser()
    space = n_components == 3 and PROJECTIONS[method].kind == "plane"
    kind = out.suffix.lower()
    if kind not in (*COORDINATES, *PICTURES):
        raise InputError(
            f"{option('out')} {out} must end in {', '.join(COORDINATES)} (coordinates) "
            f"or {', '.join(PICTURES)} (a picture)"
        )
    if space and kind in STATIC:
        raise InputError(f"{option('out')} {out}: a space is to be turned, not looked at from one side: write .html")
    picture = out if kind in PICTURES else out.with_suffix(".html" if space else ".png")
    table = out.with_suffix(kind if kind in COORDINATES else ".csv")
    tables = tuple(table.with_stem(f"{table.stem}-{side}") for side in ("before", "after")) if pair else (table,)
    for path in (*tables, picture):
        check_output_file(path)
    for module in ("plotly.graph_objects", "jinja2") if picture.suffix.lower() == ".html" else ("matplotlib",):
        optional(module, "a map's picture")
    return Files(tables, picture)


def options_of(method: str, **values: Any) -> dict[str, Any]:
    """Options of the command as those of the estimator: those that are not None, under its names.

    Raises
    ------
    InputError
        If one is of other methods.
    """
    options = {}
    for name, value in values.items():
        if value is None:
            continue
        names = NAMES[name]
        if method not in names:
            raise InputError(f"{option(name)} is of {' and '.join(names)}: leave it out with {method}")
        options[names[method]] = value
    return options


def _listed() -> str:
    return ", ".join(PROJECTIONS)


def _picture(
    path: Path, maps: Sequence[Map], title: str, names: Sequence[str], command: str, color: str | None
) -> None:
    kind, pair = maps[0].kind, len(maps) == 2
    more: dict[str, Any] = {"names": names or SIDES} if pair else {}
    if path.suffix.lower() == ".html":
        from geomclip.plots import interactive

        drawer: Any = getattr(interactive, kind)
        if pair and kind != "space":
            figures = {both_of(names): getattr(interactive, f"{kind}_pair")(*maps, color=color, **more)}
        else:
            headings = (names or ("Before", "After")) if pair else ("",)
            figures = {name: drawer(each, color=color) for name, each in zip(headings, maps, strict=True)}
        write_page(path, figures, maps, title=title, command=command)
        return
    from geomclip.plots import static
    from geomclip.plots.static.canvas import PAGE

    more |= {"title": title, "color": color, "width": PAGE}
    static.save(getattr(static, f"{kind}_pair" if pair else kind)(*maps, **more), path)
