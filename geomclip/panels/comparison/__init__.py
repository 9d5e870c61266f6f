"""Before and after: paired differences of two panels, with intervals, verdicts and gates."""

from geomclip.panels.comparison.differences import compare
from geomclip.panels.comparison.record import VERDICTS, Comparison, Row
from geomclip.panels.comparison.several import Comparisons
from geomclip.panels.comparison.verdicts import verdict
from geomclip.panels.gates import Gate

__all__ = ["VERDICTS", "Comparison", "Comparisons", "Gate", "Row", "compare", "verdict"]
