"""Pages that ask nobody for anything: plotly.js and the figures inside one HTML file."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine.extras import optional
from geomclip.plots.theme import MODES, template

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# what a script element may not hold, or old JavaScript may not have in a string; equal inside JSON strings
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}

CONTENT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""For a <meta> of the page: the browser itself then refuses every request, whatever a figure holds.

plotly's WebGL planes make functions from text ('unsafe-eval')."""


@cache
def plotly_script() -> str:
    """Script elements that start plotly.js in the browser without a request; about 2 MB.

    The code is compressed (zlib, which holds no date: same version, same bytes) and unpacked by the browser's
    DecompressionStream. `window.plotlyReady` is a promise of `Plotly`; it fails with a sentence for the reader where
    the browser is too old. The page's policy must allow inline scripts.

    Returns
    -------
    str

    Raises
    ------
    NotAvailableError
        If plotly is not installed.

    Examples
    --------
    >>> script = plotly_script()
    >>> script.count("<script"), "window.plotlyReady" in script, "https://" in script
    (2, True, False)
    """
    code: str = optional("plotly.offline", "an interactive page").get_plotlyjs()
    packed = base64.b64encode(zlib.compress(code.encode("utf-8"), 6)).decode("ascii")
    # a data block, as its type is none that is run
    return f'<script type="text/plain" id="plotly-packed">{packed}</script>\n<script>{_asset("unpack.js")}</script>'


def figure_script() -> str:
    """Script elements that draw figures, to stand after `plotly_script`.

    They define `geomclip.draw(element, figure)` and `geomclip.theme(name)`.

    What `draw` adds to plotly: light and dark, buttons for the legend's entries and a slider for frames (both reached
    by keyboard), arrow keys that turn a sphere, linked cameras, another arrangement on narrow screens, and drawing
    only when the figure is about to be seen. `geomclip.start()` does all of it for the figures of a page.
    """
    themes = script_json({mode: template(mode) for mode in MODES})
    data = f'<script type="application/json" id="geomclip-themes">{themes}</script>'
    return f"{data}\n<script>{_asset('figures.js')}</script>"


def style() -> str:
    """The style sheet of `page`: colours of both themes as variables, controls, widths from a phone's."""
    return _asset("page.css")


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever its strings hold; a str is taken as JSON already.

    Examples
    --------
    >>> script_json(["</script>"])
    '["\\\\u003c/script\\\\u003e"]'
    """
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def figure_json(figure: Figure) -> str:
    """A figure as JSON for a script element, its typed arrays as base64; same figure, same text."""
    return script_json(str(figure.to_json(engine="json", remove_uids=True)))


def page(
    figures: Mapping[str, Figure] | Sequence[Figure],
    title: str,
    facts: Sequence[str] = (),
    *,
    foot: Mapping[str, str] | None = None,
    stills: Mapping[str, str] | None = None,
) -> str:
    """One HTML page that holds its figures and all that draws them: nothing is fetched when it is opened.

    Parameters
    ----------
    figures : mapping of heading to plotly figure, or sequence of figures
        Drawn one below the other.
    title : str
    facts : sequence of str
        Lines below the title.
    foot : mapping of name to value, optional
        What the page was made from, at its end.
    stills : mapping of heading to HTML, optional
        What `still` gives: seen until the figure is drawn, and printed in its place.

    Returns
    -------
    str
        Light or dark as the reader's system prefers, or as the button says; from 360 px wide. All text is
        escaped. The same arguments give the same text.

    Raises
    ------
    NotAvailableError
        If plotly or jinja2 is not installed.
    """
    jinja2 = optional("jinja2", "an interactive page")
    whole = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_asset("page.html"))
    headed = list(figures.items()) if isinstance(figures, Mapping) else [("", figure) for figure in figures]
    pictures = [
        {
            "heading": heading,
            "label": heading or title,
            "json": figure_json(figure),
            "still": (stills or {}).get(heading, ""),
        }
        for heading, figure in headed
    ]
    html: str = whole.render(
        title=title,
        facts=facts,
        pictures=pictures,
        foot=foot,
        policy=CONTENT_POLICY,
        style=style(),
        plotly=plotly_script(),
        script=figure_script(),
    )
    return html


@cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
