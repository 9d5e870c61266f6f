"""Reports: one HTML file that holds its numbers, pictures and items, and asks nobody for anything when it is opened.

The parts: `single` and `paired` say what a page shows; `numbers`, `items`, `pictures`, `thumbnails` make its parts;
`page` puts them into `templates/` with the style and scripts of `assets/`.
"""

from geomclip.reports.one import report
from geomclip.reports.two import save_page

__all__ = ["report", "save_page"]
