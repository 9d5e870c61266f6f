"""Projections: a cloud of points made visible, as scikit-learn estimators; each is imported when it is first used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any


@dataclass(frozen=True)
class Projector:
    """What `geomclip project --method` names: an estimator, and how maps are made with it.

    Attributes
    ----------
    path : str
        The estimator as "module:class" in this package.
    kind : str
        What it is drawn on, "plane" or "sphere".
    what : str
        What of the points it keeps.
    up_to : int, optional
        How many points it is started with; None where any number is a matter of seconds.
    seconds, power : float
        What 10,000 points of 512 dimensions take of one core; it grows with this power of their number.
    options : tuple of (str, value)
        What the estimator is made with beside the caller's.
    dimensions : tuple of int
        Coordinates that a point can have.
    pairing : str
        How two sets come on common axes. "together": fitted to the rows of both; "aligned": the estimator draws both
        by `aligned`; else each is drawn by itself and the second turned on the first, which it starts from where
        this is "started", and not where it is "turned".
    clouds : bool
        Whether its `fit` is told of each point which cloud it is of (`groups`) and what it counts (`sample_weight`).
    """

    path: str
    kind: str
    what: str
    up_to: int | None = None
    seconds: float = 1
    power: float = 1
    options: tuple[tuple[str, Any], ...] = ()
    dimensions: tuple[int, ...] = (2, 3)
    pairing: str = "turned"
    clouds: bool = False

    def minutes(self, n: int) -> float:
        """About what n points take, from what 10,000 took."""
        return self.seconds / 60 * (n / 10_000) ** self.power

    def estimator(self) -> Any:
        """The class of the estimator; NotAvailableError where its package is not installed."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(f"geomclip.projections.{module}"), name)


PROJECTIONS: dict[str, Projector] = {
    "svd": Projector(
        "linear:SVD", "plane", "first singular directions, not centred: the gap stays to be seen", pairing="together"
    ),
    "pca": Projector("linear:PCA", "plane", "the directions of largest variance", pairing="together"),
    "umap": Projector("umap:UMAP", "plane", "neighbours, by a graph of them", 1_000_000, 17, 1.2, pairing="aligned"),
    "umap-sphere": Projector(
        "umap:UMAP", "sphere", "neighbours, on a sphere", 50_000, 62, 1.2, (("output", "sphere"),), (3,)
    ),
    "tsne": Projector(
        "tsne:TSNE", "plane", "near neighbours, by t-SNE", 100_000, 43, 1.1, dimensions=(2,), pairing="started"
    ),
    "angles": Projector(
        "spherical.spherical_mds:SphericalMDS",
        "sphere",
        "angles, on a sphere; the width of each cloud and the gap exactly",
        100_000,
        1,
        1.0,
        dimensions=(3,),
        pairing="started",
        clouds=True,
    ),
    "dosnes": Projector(
        "dosnes.dosnes:DOSNES",
        "sphere",
        "near neighbours, on a sphere, without a crowd in the middle",
        100_000,
        9,
        1.3,
        dimensions=(3,),
        pairing="started",
    ),
    "heat-geodesic": Projector(
        "heat.heat_geodesic:HeatGeodesic", "plane", "distances along the data, by heat", 50_000, 31, 1.2
    ),
}
"""Every projector by the name of its method, the linear ones first."""

_CLASSES = {row.path.partition(":")[2]: row.path.partition(":")[0] for row in PROJECTIONS.values()}
_CLASSES["Projection"] = "base"

if TYPE_CHECKING:
    from geomclip.projections.base import Projection as Projection

__all__ = [
    "DOSNES",
    "PCA",
    "PROJECTIONS",
    "SVD",
    "TSNE",
    "UMAP",
    "HeatGeodesic",
    "Projection",
    "Projector",
    "SphericalMDS",
]


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module 'geomclip.projections' has no attribute {name!r}")
    return getattr(import_module(f"geomclip.projections.{_CLASSES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
