"""measure and compare as notebooks and the command line call them: with the nulls simulated before, and by name.

What they need is imported when they are called, so that `geomclip.panels.options` is light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from geomclip.machine import places
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import one_line
from geomclip.panels.options import Measuring

if TYPE_CHECKING:
    from geomclip.embeddings.record import EmbeddingSet
    from geomclip.panels.comparison.record import Comparison
    from geomclip.panels.comparison.several import Comparisons
    from geomclip.panels.record import Panel
    from geomclip.panels.sources import Side


def measure(
    embeddings: EmbeddingSet,
    *,
    name: str = "",
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Panel:
    """Every number of one set of embeddings, with intervals and nulls.

    Simulated nulls are kept under `cache_dir`. Errors are those of `geomclip.panels.measurement.measure`.

    Parameters
    ----------
    embeddings : EmbeddingSet
    name : str
        What tables and pages call it, in place of its model.
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.
    progress : Progress
        Gets the sweeps, each a stage.
    **options
        Those of `geomclip.panels.options.Measuring`: metrics, bootstrap, seed, curves, captions, paper, by,
        logit_scale, dtype, sample_blocks, device. And who sweeps: engine ("process" or "ray"), processes, workers.

    Returns
    -------
    Panel
    """
    from geomclip.panels import measurement
    from geomclip.panels.nulls import NullCache

    panel = measurement.measure(
        embeddings, null_cache=NullCache(cache_dir, progress=progress), progress=progress, **options
    )
    return panel.replace(name=one_line(name)) if name else panel


@overload
def compare(before: Side, after: Side, **options: Any) -> Comparison: ...


@overload
def compare(before: Side, after: Side, third: Side, *more: Side, **options: Any) -> Comparisons: ...


def compare(
    before: Side,
    after: Side,
    *more: Side,
    names: Sequence[str] | None = None,
    bootstrap: int = Measuring.bootstrap,
    seed: int = Measuring.seed,
    intersect: bool = False,
    resample: str = "gallery",
    primary: str | Sequence[str] | None = None,
    others: Mapping[str, Comparison] | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Comparison | Comparisons:
    """What changed from one side to the other: paired differences with intervals and verdicts.

    Parameters
    ----------
    before, after : Panel, EmbeddingSet, encoder, path or name
        A result (`.json`, with the items beside it; one of CLIP_benchmark or MTEB, or a row of a table of results as
        `FILE.csv:ROW`), a store, `.npz` or `.npy`, or what `--model` takes: a name, a checkpoint, a run folder.
        Vectors are measured, models first extracted on `data`. Of two run folders the tasks that both were asked
        (`finetune --evaluate`) are compared too; of one, named twice, what it was and what it became.
    *more : the same
        Further runs: each, like `after`, is compared with `before`.
    names : sequence of str, optional
        What tables, pages and pictures call the sides, in place of their files and models.
    bootstrap, seed : int
        Draws where an interval takes them (`resample="queries"`, and ECE), 0 for no intervals; and their seed.
    intersect : bool
        Compare what both have where the sets differ; else they are refused. Sets of vectors are cut to it
        before they are measured; of results, what each image adds stays as it was computed.
    resample : str
        What intervals and verdicts are over: "gallery", other images of the same kind, or "queries", other queries to
        this gallery.
    primary : str or sequence of str, optional
        The keys that the comparison is about, named before looking; they are judged apart from the many others.
        Left out: recall@1 both ways, or accuracy@1 of classes.
    others : mapping of name to Comparison, optional
        Of the same two sides on other data, for `verdict`: what was forgotten there, or kept.
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.
    progress : Progress, optional
        Takes how far each stage is, and lines of text.
    **options
        Of `embed` for models: data, split, data_root, limit, image_column, text_column, image_id_column, image_root,
        query_column, batch_size, workers, precision, device; pretrained (of named models), arch (of files of weights).
        Of `measure` for what is not a result: metrics, captions, logit_scale, dtype, by.

    Returns
    -------
    Comparison
        Of two sides; of more `Comparisons`, with a `Comparison` a run and verdicts corrected over all.

    Raises
    ------
    InputError
        If a file or name cannot be used, or an option has nothing to do with these sides.
    ValueError
        If there are not two names or both are the same, the sets differ without `intersect` or have nothing in common,
        or a primary key is not among the numbers compared or can be neither better nor worse.

    Examples
    --------
    >>> import torch
    >>> from geomclip.embeddings.record import EmbeddingSet
    >>> before, after = (EmbeddingSet(torch.eye(4), torch.eye(4)[turn]) for turn in ([0, 1, 3, 2], [0, 1, 2, 3]))
    >>> compare(before, after, metrics="alignment", bootstrap=0)["alignment"].difference
    -1.0
    """
    from geomclip.machine.errors import InputError
    from geomclip.panels import naming, sources, stored
    from geomclip.panels.comparison import differences
    from geomclip.panels.comparison.several import Comparisons
    from geomclip.panels.nulls import NullCache

    if others and more:
        raise InputError("others is of two sides: leave it out, or name no third side")
    differences.check_options(resample, primary)  # before the long work, since names can be mistyped
    stored_tasks, unlike = ({}, []) if more else stored.evaluations(before, after, bootstrap=bootstrap, seed=seed)
    if not more:
        before, after = stored.of_itself(before, after)
    sides = before, after, *more
    called = naming.checked(names, len(sides)) or [""] * len(sides)
    shown = list(names or (sources.names_of(sides) if more else sources.SIDES))
    cache = None if cache_dir is None else Path(cache_dir)
    found = sources.panels(
        sides,
        shown,
        intersect=intersect,
        bootstrap=bootstrap,
        seed=seed,
        cache_dir=cache,
        null_cache=NullCache(cache, progress=progress),
        progress=progress,
        options=options,
    )
    how: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "intersect": intersect, "resample": resample}
    how |= {"primary": primary, "others": others, "names": shown[1:] if more else ()}
    results = differences.compare_all([(one.panel, other.panel) for one, other, _ in found], **how)
    compared = [
        result.replace(
            notes=[*notes, *result.notes, *unlike],
            evaluations=stored_tasks,
            sides=(one, other),
            before=_named(result.before, before, called[0]),
            after=_named(result.after, side, name),
        )
        for result, (one, other, notes), side, name in zip(results, found, sides[1:], called[1:], strict=True)
    ]
    return Comparisons(shown[0], dict(zip(shown[1:], compared, strict=True))) if more else compared[0]


def _named(identity: Mapping[str, Any], side: Side, name: str) -> dict[str, Any]:
    """What one side was measured of, with where it is from, and what it is called: as now said, as measured, or so."""
    if isinstance(side, str | Path):
        identity = {"name": places.shown(side), **identity, "source": places.shown(side)}
    return {**identity, "name": name} if name else dict(identity)
