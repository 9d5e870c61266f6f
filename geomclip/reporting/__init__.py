"""Reports: one HTML file that holds its numbers, pictures and items, and asks nobody for anything when it is opened.

The parts: `single` and `paired` say what a page shows; `numbers`, `items`, `pictures`, `thumbnails` make its parts;
`page` puts them into `templates/` with the style and scripts of `assets/`.
"""

from geomclip.reporting.paired import save_page
from geomclip.reporting.single import report

__all__ = ["report", "save_page"]
