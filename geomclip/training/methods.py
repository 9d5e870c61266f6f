"""Methods: one table, one line a method, from a name to what is minimised; nothing heavy is loaded to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest
from geomclip.training.settings import INSIDE_M3, WEIGHTS

OH = "Oh et al. 2023"
LI = "ours, after Li et al. 2023"
EQUAL = {"weights": {**WEIGHTS, "v_mix": 1.0, "l_mix": 1.0, "vl_mix": 1.0}, "decay": "none"}
"""Mixed terms that are the loss or half of it, and no small addition that fades."""


@dataclass(frozen=True)
class Method:
    """What is minimised, and when."""

    name: str
    title: str
    source: str
    plain: Mapping[str, float] = field(default_factory=dict)  # terms with their weights
    mixed: tuple[str, ...] = ()  # terms whose weights are settings and decay with the epochs
    stage: Literal["train", "after", "without"] = "train"  # after training, or without any
    defaults: Mapping[str, Any] = field(default_factory=dict)  # settings that differ for this method
    heads_first: float = 0.0  # share of the steps in which only the projection heads are trained
    members: tuple[int, int | None] | None = None  # how many models it mixes, from and to (None: any number)

    @property
    def terms(self) -> tuple[str, ...]:
        """All that is computed, in the order of the log."""
        return (*self.plain, *self.mixed)


PLAIN = {"contrastive": 1.0}
CYCLIC = {**PLAIN, "in_modal_consistency": 0.25, "cross_modal_consistency": 0.25}
GEODESIC = {"geodesic_contrastive": 1.0}
G2L = {**PLAIN, **GEODESIC, "shapley_alignment": 0.1}
CUA = {**PLAIN, "uniformity": 1.0, "alignment": 1.0}
WITHIN = ("v_mix", "l_mix", "vl_mix")
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ft", "contrastive", "Radford et al. 2021", PLAIN),
        Method("m2mix", "contrastive, negatives mixed across modalities", OH, PLAIN, ("m2_mix",)),
        Method("m3mix", "m2mix, vmix, lmix and vlmix", OH, PLAIN, ("m2_mix", *WITHIN), defaults=INSIDE_M3),
        Method("vmix", "contrastive, images mixed", OH, PLAIN, ("v_mix",)),
        Method("lmix", "contrastive, texts mixed", OH, PLAIN, ("l_mix",)),
        Method("vlmix", "contrastive, images and texts mixed alike", OH, PLAIN, ("vl_mix",)),
        Method("imix", "vmix, lmix and vlmix without contrastive", "Lee et al. 2021", {}, WITHIN, defaults=EQUAL),
        Method("unmix", "vmix, lmix and vlmix at full weight", "Shen et al. 2022", PLAIN, WITHIN, defaults=EQUAL),
        Method("hcl", "contrastive, hard negatives weighted", "Robinson et al. 2021", {"hcl": 1.0}),
        Method("cyclip", "contrastive, cosines consistent in and across modalities", "Goel et al. 2022", CYCLIC),
        Method("cua", "contrastive, uniformity, alignment", "Fahim et al. 2024", CUA),
        Method("cuaxu", "cua, uniformity across modalities", "Fahim et al. 2024", {**CUA, "cross_uniformity": 1.0}),
        Method("geodesic", "contrastive, near images stand in for each other", LI, GEODESIC),
        Method("g2l", "contrastive, geodesic, cosines agree with interactions", LI, G2L),
        Method("siglip", "each pair judged alone", "Zhai et al. 2023", {"siglip": 1.0}),
        # half of the steps each, so that the budget is that of ft
        Method("lp-ft", "contrastive, heads first, then all", "Kumar et al. 2022", PLAIN, heads_first=0.5),
        Method("wise-ft", "weights between two models", "Wortsman et al. 2022", stage="after", members=(2, 2)),
        Method("soup", "mean of the weights of models", "Wortsman et al. 2022b", stage="after", members=(2, None)),
        Method("es", "rows shifted along the gap", "Liang et al. 2022", stage="without"),
    )
}


def method_named(name: str) -> Method:
    """A method of the table.

    Raises
    ------
    InputError
        If there is none of this name; the message has the nearest.

    Examples
    --------
    >>> method_named("m2mix").terms
    ('contrastive', 'm2_mix')
    """
    if name not in METHODS:
        hint = nearest(name, list(METHODS)) or f"; the methods are {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}{hint}")
    return METHODS[name]
