"""Pictures of numbers straight from records: of a panel and of a set, and one line on what is missing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from helpers import class_set, small_set

import geomclip as gc
from geomclip.panels.details import details_of

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

SET = small_set(n=40, per_image=1)
PANEL = gc.measure(SET, curves=True, bootstrap=20)
BOTH = pytest.mark.parametrize("plots", [gc.plots.static, gc.plots.interactive], ids=["static", "interactive"])


def drawn(figure: Any) -> str:
    """All of a figure that can be seen, as text."""
    if hasattr(figure, "to_json"):
        return str(figure.to_json(remove_uids=True))
    return gc.plots.static.canvas.rendered(figure, ".svg").decode()


@BOTH
@pytest.mark.parametrize(
    ("queries", "title"), [("text_retrieval", "image → text"), ("image_retrieval", "text → image")]
)
def test_a_reliability_diagram_of_a_panel_is_that_of_its_bins(plots: Any, queries: str, title: str) -> None:
    key = f"{queries}_ece"
    by_hand = plots.reliability(PANEL.reliability[queries], PANEL[key], PANEL.ci[key], title)
    assert drawn(plots.reliability(PANEL, queries=queries)) == drawn(by_hand)


@BOTH
def test_without_a_direction_it_is_the_first_and_says_which(plots: Any) -> None:
    assert drawn(plots.reliability(PANEL)) == drawn(plots.reliability(PANEL, queries="text_retrieval"))
    own = plots.reliability(PANEL.replace(name="ours"))
    assert drawn(own) == drawn(plots.reliability(PANEL, title="ours: image → text"))
    assert drawn(own) != drawn(plots.reliability(PANEL))


@BOTH
def test_classes_have_one_too(plots: Any) -> None:
    panel = gc.measure(class_set(), bootstrap=0)
    assert drawn(plots.reliability(panel)) == drawn(
        plots.reliability(panel.reliability["zeroshot"], panel["zeroshot_ece"])
    )


@BOTH
def test_gap_curves_of_a_panel_are_those_of_its_curves(plots: Any) -> None:
    by_hand = plots.gap_curves(PANEL.curves["gap_shift_curve"], PANEL.curves["gap_ablation_curve"])
    assert drawn(plots.gap_curves(PANEL)) == drawn(by_hand)


@BOTH
def test_similarities_of_a_set_are_those_of_its_details(plots: Any) -> None:
    details = details_of(SET)
    by_hand = drawn(plots.similarities(details.edges, details.similarities))
    assert drawn(plots.similarities(SET)) == drawn(plots.similarities(details)) == by_hand


BARE = gc.Panel({"alignment": 1.0})


@BOTH
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("reliability", [BARE], "the panel has no reliability diagram: measure with calibration"),
        ("gap_curves", [BARE], "the panel has no curves: measure with curves=True"),
        ("gap_curves", [PANEL, {"removed": [0]}], "a panel has both curves: leave ablation out"),
        ("similarities", [PANEL], "a panel has numbers and no vectors"),
        ("similarities", [SET, {"matched": [1]}], "embeddings have counts of their own"),
        ("similarities", [np.arange(3)], "edges need counts"),
    ],
)
def test_what_is_missing_is_said_in_one_line(plots: Any, name: str, given: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        getattr(plots, name)(*given)
    assert "\n" not in str(raised.value)


@BOTH
def test_a_direction_that_is_not_there_is_answered_with_those_that_are(plots: Any) -> None:
    with pytest.raises(ValueError, match="no reliability diagram of 'zeroshot'; there are text_retrieval"):
        plots.reliability(PANEL, queries="zeroshot")
    with pytest.raises(ValueError, match="these are bins: leave it out"):
        plots.reliability(PANEL.reliability["text_retrieval"], queries="text_retrieval")
