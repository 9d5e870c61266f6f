"""Reports: one HTML file that holds its numbers, pictures and items, and asks nobody for anything when it is opened.

The parts: `one` and `two` say what a page shows, of one source or of a comparison; `numbers`, `cards`, `figures`,
`thumbnails` make its parts of the `spaces`; `page` puts them into `templates/` with the style and scripts of
`assets/`.
"""

from geomclip.reports.one import report

__all__ = ["report"]
