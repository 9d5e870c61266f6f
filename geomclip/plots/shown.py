"""What a notebook shows of a map: its static picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geomclip.projections.maps import Map


def png_of(map: Map) -> bytes | None:
    """The picture of a map on the plane or sphere as PNG; None of a space, which is to be turned.

    Raises
    ------
    NotAvailableError
        If matplotlib is not installed.
    """
    from geomclip.plots import static
    from geomclip.plots.static.canvas import rendered

    if map.kind == "space":
        return None
    return rendered(static.sphere(map) if map.kind == "sphere" else static.plane(map), ".png")
