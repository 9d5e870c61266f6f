"""measure and compare as notebooks and the command line call them: with the nulls simulated before, and by name.

What they need is imported when they are called, so that `geomclip.panels.options` is light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import one_line
from geomclip.panels.options import Measuring

if TYPE_CHECKING:
    from geomclip.embeddings.record import EmbeddingSet
    from geomclip.panels.comparison.record import Comparison
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
        logit_scale, dtype, device.

    Returns
    -------
    Panel
    """
    from geomclip.panels import measurement
    from geomclip.panels.nulls import NullCache

    panel = measurement.measure(embeddings, null_cache=NullCache(cache_dir), progress=progress, **options)
    return panel.replace(name=one_line(name)) if name else panel


def compare(
    before: Side,
    after: Side,
    *,
    names: Sequence[str] | None = None,
    bootstrap: int = Measuring.bootstrap,
    seed: int = Measuring.seed,
    intersect: bool = False,
    resample: str = "gallery",
    primary: str | Sequence[str] | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Comparison:
    """What changed from one side to the other: paired differences with intervals and verdicts.

    Parameters
    ----------
    before, after : Panel, EmbeddingSet, encoder, path or name
        A result (`.json`, with the items beside it), a store, `.npz` or `.npy`, or what `--model` takes: a
        name, a checkpoint, a run folder. Vectors are measured, models first extracted on `data`.
    names : sequence of str, optional
        What tables, pages and pictures call the two sides, in place of their files and models.
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
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.
    progress : Progress, optional
        Takes how far each stage is, and lines of text.
    **options
        Of `embed` for models: data, split, data_root, limit, image_column, text_column, image_id_column,
        batch_size, workers, precision, device; pretrained (of named models), arch (of files of weights). Of
        `measure` for what is not a result: metrics, captions, logit_scale, dtype, by.

    Returns
    -------
    Comparison

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
    from geomclip.panels import naming, sources
    from geomclip.panels.comparison import differences
    from geomclip.panels.nulls import NullCache

    differences.check_options(resample, primary)  # before the long work, since names can be mistyped
    called = naming.checked(names, 2) or ("", "")
    cache = None if cache_dir is None else Path(cache_dir)
    one, other, notes = sources.panels(
        before,
        after,
        intersect=intersect,
        bootstrap=bootstrap,
        seed=seed,
        cache_dir=cache,
        null_cache=NullCache(cache),
        progress=progress,
        options=options,
    )
    how: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "intersect": intersect}
    result = differences.compare(one.panel, other.panel, **how, resample=resample, primary=primary)
    identities = {
        which: _named(identity, side, name)
        for which, identity, side, name in zip(
            sources.SIDES, (result.before, result.after), (before, after), called, strict=True
        )
    }
    return result.replace(notes=[*notes, *result.notes], sides=(one, other), **identities)


def _named(identity: Mapping[str, Any], side: Side, name: str) -> dict[str, Any]:
    """What one side was measured of, with where it is from, and what it is called: as now said, as measured, or so."""
    if isinstance(side, str | Path):
        identity = {"name": str(side), **identity, "source": str(side)}
    return {**identity, "name": name} if name else dict(identity)
