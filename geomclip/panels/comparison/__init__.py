"""Before and after: paired differences of two panels, with intervals, verdicts and gates."""

from geomclip.panels.comparison.differences import compare, verdict
from geomclip.panels.comparison.record import VERDICTS, Comparison, Gate, Row

__all__ = ["VERDICTS", "Comparison", "Gate", "Row", "compare", "verdict"]
