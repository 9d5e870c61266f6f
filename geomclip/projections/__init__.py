"""Projections: a cloud of points made visible, as scikit-learn estimators; each is imported when it is first used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any


@dataclass(frozen=True)
class Method:
    """What `geomclip project --method` names.

    `path` is the estimator as "module:class" in this package and `options` what it is made with beside the
    caller's; `kind` is what it is drawn on, "plane" or "sphere"; `up_to` is how many points it is started with,
    None where any number is a matter of seconds; `seconds` is what 10,000 points of 512 dimensions take of one
    core, and grows with the `power` of their number.
    """

    path: str
    kind: str
    what: str
    up_to: int | None = None
    seconds: float = 1
    power: float = 1
    options: tuple[tuple[str, Any], ...] = ()

    def minutes(self, n: int) -> float:
        """About what n points take, from what 10,000 took."""
        return self.seconds / 60 * (n / 10_000) ** self.power

    def estimator(self) -> Any:
        """The class of the estimator; NotAvailableError where its package is not installed."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(f"geomclip.projections.{module}"), name)


PROJECTIONS: dict[str, Method] = {
    "svd": Method("linear:SVD", "plane", "first singular directions, not centred: the gap stays to be seen"),
    "pca": Method("linear:PCA", "plane", "the directions of largest variance"),
    "umap": Method("umap:UMAP", "plane", "neighbours, by a graph of them", 1_000_000, 17, 1.2),
    "umap-sphere": Method("umap:UMAP", "sphere", "neighbours, on a sphere", 50_000, 62, 1.2, (("output", "sphere"),)),
    "tsne": Method("tsne:TSNE", "plane", "near neighbours, by t-SNE", 100_000, 43, 1.1),
    "dosnes": Method(
        "dosnes.dosnes:DOSNES", "sphere", "near neighbours, on a sphere, without a crowd in the middle", 100_000, 9, 1.3
    ),
    "heat-geodesic": Method(
        "heat.heat_geodesic:HeatGeodesic", "plane", "distances along the data, by heat", 50_000, 31, 1.2
    ),
}
"""Every method by its name, the linear ones first."""

_CLASSES = {method.path.partition(":")[2]: method.path.partition(":")[0] for method in PROJECTIONS.values()}
_CLASSES["Projection"] = "base"

if TYPE_CHECKING:
    from geomclip.projections.base import Projection as Projection

__all__ = ["DOSNES", "PCA", "PROJECTIONS", "SVD", "TSNE", "UMAP", "HeatGeodesic", "Method", "Projection"]


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module 'geomclip.projections' has no attribute {name!r}")
    return getattr(import_module(f"geomclip.projections.{_CLASSES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
