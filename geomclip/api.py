"""measure as notebooks and the command line call it: with the nulls that this machine has simulated before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip import measurement
from geomclip.embeddings import EmbeddingSet
from geomclip.panel import Panel
from geomclip.results import NullCache


def measure(embeddings: EmbeddingSet, *, cache_dir: str | Path | None = None, **options: Any) -> Panel:
    """Every number of one set of embeddings, with intervals and nulls.

    Options and errors are those of `geomclip.measurement.measure`: metrics, bootstrap, seed, curves, captions,
    paper, by, logit_scale, dtype, progress. Simulated nulls are kept under `cache_dir`.

    Parameters
    ----------
    embeddings : EmbeddingSet
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.

    Returns
    -------
    Panel
    """
    options.setdefault("null_cache", NullCache(cache_dir))
    return measurement.measure(embeddings, **options)
