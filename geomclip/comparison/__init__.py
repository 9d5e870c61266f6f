"""Before and after: paired differences of two panels, with intervals, verdicts and gates."""

from geomclip.comparison.panels import compare, verdict
from geomclip.comparison.record import VERDICTS, Comparison, Gate, Measured, Row

__all__ = ["VERDICTS", "Comparison", "Gate", "Measured", "Row", "compare", "verdict"]
