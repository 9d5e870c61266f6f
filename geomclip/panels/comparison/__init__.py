"""Before and after: paired differences of two panels, with intervals, verdicts and gates."""

from geomclip.panels.comparison.differences import compare
from geomclip.panels.comparison.record import VERDICTS, Comparison, Gate, Row
from geomclip.panels.comparison.several import Comparisons
from geomclip.panels.comparison.verdicts import verdict

__all__ = ["VERDICTS", "Comparison", "Comparisons", "Gate", "Row", "compare", "verdict"]
