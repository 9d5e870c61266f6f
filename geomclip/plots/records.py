"""What pictures of numbers are drawn of, from records in place of arrays: a panel, a set, or its details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import ArrayLike

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.words import near, option
from geomclip.metrics import METRICS
from geomclip.panels.details import Details, details_of
from geomclip.panels.record import Panel

Bins: TypeAlias = Sequence[Mapping[str, float | None]]
Counts: TypeAlias = Mapping[str, ArrayLike]
Curve: TypeAlias = Mapping[str, Any]


class Diagram(NamedTuple):
    """A reliability diagram: its bins, the calibration error with its interval, and a title."""

    bins: Bins
    ece: float | None
    ci: Sequence[float] | None
    title: str


def diagram_of(
    panel: Panel | Bins, queries: str | None, ece: float | None, ci: Sequence[float] | None, title: str
) -> Diagram:
    """The reliability diagram of a panel, or of bins as they are.

    Parameters
    ----------
    panel : Panel, or bins
    queries : str, optional
        Which diagram of a panel: a key of `Panel.reliability`. Left out: the first.
    ece, ci, title
        In place of the panel's own.

    Raises
    ------
    ValueError
        If the panel has no diagram, or not this one; or if `queries` is given beside bins.

    Examples
    --------
    >>> panel = Panel({"text_retrieval_ece": 0.25}, reliability={"text_retrieval": [{"count": 3.0}]})
    >>> diagram_of(panel, None, None, None, "")
    Diagram(bins=[{'count': 3.0}], ece=0.25, ci=None, title='image → text')
    """
    if not isinstance(panel, Panel):
        if queries is not None:
            raise ValueError("queries says which diagram of a panel to draw, and these are bins: leave it out")
        return Diagram(panel, ece, ci, title)
    there = [name for name, bins in panel.reliability.items() if bins]
    if not there:
        measured = option("metrics", "default")
        raise ValueError(f"the panel has no reliability diagram: measure with calibration, as {measured} does")
    which = there[0] if queries is None else queries
    if which not in there:
        close = near(which, there) or there
        raise ValueError(f"the panel has no reliability diagram of {which!r}; there are {', '.join(close)}")
    key = f"{which}_ece"
    way = METRICS[key].title.removeprefix("ECE").removeprefix(", ") if key in METRICS else which
    own = ": ".join(filter(None, (panel.name, way)))
    return Diagram(
        panel.reliability[which],
        panel.values.get(key) if ece is None else ece,
        panel.ci.get(key) if ece is None and ci is None else ci,
        title or own,
    )


def curves_of(panel: Panel | Curve | None, ablation: Curve | None) -> tuple[Curve | None, Curve | None]:
    """Both curves of a panel, or the two as they are.

    Raises
    ------
    ValueError
        If the panel was measured without curves.

    Examples
    --------
    >>> curves_of(Panel({}, curves={"gap_shift_curve": {"shift": [0.0]}}), None)
    ({'shift': [0.0]}, None)
    """
    if not isinstance(panel, Panel):
        return panel, ablation
    if ablation is not None:
        raise ValueError("a panel has both curves: leave ablation out")
    found = tuple(panel.curves.get(f"gap_{each}_curve") for each in ("shift", "ablation"))
    if not any(found):
        raise ValueError(f"the panel has no curves: measure with {option('curves', True)}")
    return found[0], found[1]


def counts_of(edges: EmbeddingSet | Details | ArrayLike, counts: Counts | None) -> tuple[ArrayLike, Counts]:
    """How the cosines of a set are spread, or edges and counts as they are.

    Raises
    ------
    ValueError
        If there are edges without counts, counts beside a set, or a panel, which has no vectors.

    Examples
    --------
    >>> import numpy as np
    >>> edges, counts = counts_of(EmbeddingSet(np.eye(3), np.eye(3)), None)
    >>> int(counts["unmatched"].sum())
    6
    """
    if isinstance(edges, Panel):
        raise ValueError("a panel has numbers and no vectors: similarities are drawn of the embeddings")
    if isinstance(edges, EmbeddingSet | Details):
        if counts is not None:
            raise ValueError("embeddings have counts of their own: leave counts out")
        details = details_of(edges) if isinstance(edges, EmbeddingSet) else edges
        return details.edges, details.similarities
    if counts is None:
        raise ValueError("edges need counts, one a bin; or give the embeddings alone")
    return edges, counts
