"""Colours of the pictures, and the light and dark layouts of the interactive ones."""

from __future__ import annotations

from typing import Any

IMAGE = "#0072b2"
TEXT = "#d55e00"
GAP = "#009e73"
"""Blue, vermillion and bluish green of Okabe and Ito: told apart by colour-blind readers, and at least 3:1 against
the papers of both modes, so that one colour means one thing in both."""

LINK = "#8a919c"
"""Links and the net of the globe: thin and grey, seen on both papers."""
BEFORE, AFTER = "#8a8f98", "#9a3d8f"

MODES = ("light", "dark")

PALETTES = {
    "light": {"paper": "#ffffff", "ink": "#1b1f24", "quiet": "#4f5863", "grid": "#e3e6ea", "globe": "#f2f4f7"},
    "dark": {"paper": "#14171c", "ink": "#eceff3", "quiet": "#b4bcc8", "grid": "#2e343d", "globe": "#232831"},
}
"""Per mode: background; text (at least 12:1 on it); smaller text (at least 7:1); grid lines; the sphere's body."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"


def template(mode: str) -> dict[str, Any]:
    """The plotly template of a mode: all that differs between light and dark, so that a page can exchange it.

    Parameters
    ----------
    mode : str
        "light" or "dark".

    Returns
    -------
    dict
        For `layout.template`.

    Raises
    ------
    ValueError
        If the mode is neither.

    Examples
    --------
    >>> template("dark")["layout"]["paper_bgcolor"]
    '#14171c'
    """
    if mode not in MODES:
        raise ValueError(f"mode must be light or dark, got {mode!r}")
    colors = PALETTES[mode]
    axis = {
        "gridcolor": colors["grid"],
        "linecolor": colors["quiet"],
        "zerolinecolor": colors["grid"],
        "tickcolor": colors["quiet"],
        "tickfont": {"color": colors["quiet"]},
        "title": {"font": {"color": colors["ink"]}, "standoff": 10},
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
    }
    solid = {"backgroundcolor": colors["paper"], "gridcolor": colors["grid"], "color": colors["quiet"]}
    layout = {
        "paper_bgcolor": colors["paper"],
        "plot_bgcolor": colors["paper"],
        "font": {"family": FONT, "size": 13, "color": colors["ink"]},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16, "color": colors["ink"]}},
        "xaxis": axis,
        "yaxis": axis,
        "scene": {"bgcolor": colors["paper"], "xaxis": solid, "yaxis": solid, "zaxis": solid},
        "legend": {"font": {"color": colors["ink"]}, "bgcolor": "rgba(0, 0, 0, 0)"},
        "hoverlabel": {
            "bgcolor": colors["globe"],
            "bordercolor": colors["quiet"],
            "font": {"color": colors["ink"], "size": 13},
            "align": "left",
        },
        "annotationdefaults": {"font": {"color": colors["quiet"], "size": 12}, "showarrow": False, "align": "left"},
        "colorway": [IMAGE, TEXT, GAP, AFTER, "#e69f00", "#56b4e9"],
    }
    return {"layout": layout, "data": {"mesh3d": [{"color": colors["globe"]}]}}
