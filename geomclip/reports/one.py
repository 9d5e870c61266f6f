"""The report of one source: measured if it is not a result, seen if it has vectors, written as one page.

A comparison has a page of its own, which `two` makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.machine.outputs import check_output_file
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import nearest, option
from geomclip.panels import sources, stored, tables
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.comparison.transfer import transfer_of
from geomclip.panels.measurement import Measured
from geomclip.panels.nulls import NullCache
from geomclip.panels.options import Measuring
from geomclip.panels.record import Panel
from geomclip.panels.sentences import number
from geomclip.panels.short import units
from geomclip.panels.sources import Side
from geomclip.plots.coloring import check_column
from geomclip.reports import commands, numbers, two
from geomclip.reports.cards import galleries
from geomclip.reports.figures import figures_of
from geomclip.reports.origins import made_of
from geomclip.reports.page import Missing, Page, Table, write
from geomclip.reports.views import POINTS, PageOptions, View, view_of

OUT = "geomclip-report.html"


def report(
    source: Side | Comparison = "demo",
    out: str | Path = OUT,
    *,
    thumbnails: bool = True,
    points: int = POINTS,
    color: str | None = None,
    curves: bool = True,
    bootstrap: int = Measuring.bootstrap,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
    command: str | None = None,
    **options: Any,
) -> Path:
    """One offline HTML page of one set, or of a comparison: numbers, pictures, and items to search and follow.

    Parameters
    ----------
    source : Panel, EmbeddingSet, encoder, path, name or Comparison
        What `compare` takes for a side: a result (`.json`), a store, `.npz` or `.npy`, or a model's name, checkpoint
        or run folder. A result has no vectors: its page has the numbers and what can be drawn of them. Or what
        `compare` gives: the page has what changed, and both spaces where both sides have vectors.
    out : path
        The page; its name ends in .html.
    thumbnails : bool
        Put a small picture of every image into the page, where its data set is on this machine.
    points : int
        Images and texts that are drawn and listed at most: of a larger set a sample of the images. The numbers are
        of all.
    color : str, optional
        Column of the images, or "label" of class data, that gives the dots their colours, as in `plot_sphere`. Left
        out: a colour a modality.
    curves : bool
        Measure the gap curves too, if the source is measured.
    bootstrap, seed : int
        Draws where an interval takes them, 0 for no intervals; the seed of these, of the maps and of the sample. Of a
        comparison, which is measured, the seed is its own.
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.
    progress : Progress, optional
        Takes how far each stage is, and lines of text.
    command : str, optional
        What the foot of the page says it was made with. Left out: this call.
    **options
        As of `compare`. Those of data say of vectors where their images lie (data, split, data_root, ...); a
        comparison takes these alone.

    Returns
    -------
    Path
        The page. The same source, options and seed give the same bytes on the same machine.

    Raises
    ------
    InputError
        If the source or an option cannot be used, or the page cannot be written.
    NotAvailableError
        If a package of the extra `viz` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> panel = Panel({"alignment": 0.5}, n_images=4, n_texts=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(panel, Path(folder) / "report.html").read_text()
    >>> "<h1>" in page, "Alignment" in page
    (True, True)
    """
    out = Path(out)
    check_output_file(out, ".html")
    cache = None if cache_dir is None else Path(cache_dir)
    of_data = {name: options[name] for name in sources.OF_IMAGES if options.get(name) is not None}
    shown = PageOptions(of_data if thumbnails else None, points, color, seed, cache, progress)
    if isinstance(source, Comparison):
        _refuse_all_but_data(options)
        return write(two.page_of(source, shown, command or two.call_of(source, out)), out)
    common: dict[str, Any] = {"seed": seed, "progress": progress, "options": options}
    (side,) = sources.loaded([source], [""], cache_dir=cache, pictures=thumbnails, **common)
    if isinstance(side, Panel) and not thumbnails:
        raise InputError(f"{option('thumbnails', False)}: a result has no images: leave it out")
    _check_color(color, side)
    common |= {"bootstrap": bootstrap, "null_cache": NullCache(cache, progress=progress), "curves": curves}
    measured = sources.measured(side, "", **common)
    view = view_of({"": measured}, shown)
    run = stored.run_of(source)
    changed = None if run is None else stored.changed(run, bootstrap=bootstrap, seed=seed)
    command = command or commands.called("report", source, out, seed=seed, **options)
    return write(page_of(measured, view, command, source, changed), out)


def _check_color(color: str | None, side: object) -> None:
    """Refuse a column before anything is measured."""
    if color is not None and isinstance(side, Panel):
        raise InputError(f"{option('color', color)}: a result has no dots to colour: leave it out")
    if isinstance(side, EmbeddingSet):
        check_column(color, side.attributes())


def _refuse_all_but_data(options: dict[str, Any]) -> None:
    for name in options:
        if name not in sources.OPTIONS:
            raise InputError(f"no option {name!r}{nearest(name, list(sources.OPTIONS))}")
        if name not in sources.OF_IMAGES:
            raise InputError(f"{option(name)} says how to measure, and a comparison is measured: leave it out")


def page_of(
    measured: Measured, view: View, command: str, source: object = None, changed: Comparison | None = None
) -> Page:
    """What the page of one side shows; `changed` is what it changed, of a run."""
    panel = measured.panel
    title, counts, *warnings = tables.header(panel)
    groups = numbers.groups_of(panel)
    others = [f"{key}: {note}" for key, note in panel.notes.items() if key not in panel.values]
    return Page(
        kind="report",
        kicker="Embedding report",
        title=title,
        lines=[counts],
        warnings=[line.removeprefix("! ") for line in warnings],
        tiles=numbers.tiles_of(panel),
        groups=groups,
        transfer=None if changed is None else transfer_of(changed),
        files=numbers.panel_files(panel),
        made=[("", made_of(panel))],
        command=command,
        missing=None if measured.embeddings is not None else _missing(panel),
        maps=view.maps,
        pictures=figures_of({"": panel}, view.spaces, source),
        galleries=galleries(view.spaces[0]) if view.spaces else {},
        items=view.items,
        by=_by(panel),
        notes=[
            *others,
            *view.notes,
            *(stored.left_out(changed) if changed else []),
            *([f"images: {view.licence}"] if view.licence else []),
        ],
    )


def _missing(panel: Panel) -> Missing:
    reason = (
        "This page is of a result, which has numbers but no vectors: maps, similarities, spectra, hubs, neighbours, "
        "search and galleries are of the vectors. With them:"
    )
    return Missing(reason, commands.with_vectors(panel.made_from))


def _by(panel: Panel) -> Table | None:
    if not panel.groups:
        return None
    some = {"all": panel, **panel.groups}
    rows = [[units(panel, panel.task), *(f"{one.n_images:,}" for one in some.values())]]
    rows += [[key, *(number(one.values.get(key)) for one in some.values())] for key in panel.values]
    return Table(str(panel.params.get("by") or "group"), list(some), rows)
