"""A figure to turn with a still picture of it beside, for whoever shows a notebook without running scripts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from geomclip.machine.errors import NotAvailableError
from geomclip.plots.interactive.traces import go


class WithStill(go.Figure):  # type: ignore[misc]  # plotly has no types
    """A plotly figure that has `image/png` among what it shows itself as: exporters of notebooks draw that.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    png : callable
        Draws the still picture; called where a notebook shows the figure.
    """

    def __init__(self, figure: go.Figure, png: Callable[[], bytes]) -> None:
        super().__init__(figure)
        self._png = png

    def _repr_mimebundle_(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(*arguments, **more))
        with suppress(NotAvailableError):  # matplotlib may be missing
            if bundle:  # else the renderer opens a window of its own
                bundle["image/png"] = base64.b64encode(self._png()).decode("ascii")
        return bundle

    def _ipython_display_(self) -> None:
        bundle = self._repr_mimebundle_()
        if not bundle:
            super()._ipython_display_()
            return
        from IPython.display import display

        display(bundle, raw=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and what is read from a pickle, is the figure alone."""
        return go.Figure, (self.to_dict(),)
