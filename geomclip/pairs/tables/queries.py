"""Tables of texts alone: a column of queries in the place of images, whose documents are in the column of texts."""

from __future__ import annotations

from collections.abc import Sequence

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.record import TextQuery
from geomclip.pairs.source import Source
from geomclip.pairs.tables import cells
from geomclip.pairs.tables.columns import Table

RULES = (
    "With --query-column both sides are texts: that column has the queries, --text-column (or the one column called "
    "document, passage, answer, positive, text, ...) their documents. Rows of one query, or of one image-id column, "
    "are one query with the documents of all of them.",
    "A row without a query is left out and counted; a list of several queries in a cell is refused.",
)

DOCUMENTS = (
    *("document", "documents", "doc", "docs", "passage", "passages", "answer", "answers", "response", "positive"),
    *("corpus", "context", "target", "sentence2"),
)
"""What columns of documents are called, beside the names that columns of texts have."""
LONGEST_ID = 200
"""A longer query is known by its beginning and its sha256."""


def check(source: Source) -> None:
    """InputError if options of images are set beside the column of queries."""
    images = {"image_column": source.image_column != Source.image_column, "image_root": source.image_root is not None}
    if idle := [option(name) for name, is_set in images.items() if is_set]:
        raise InputError(f"{', '.join(idle)} is of images: {option('query_column')} has queries in their place")
    if source.query_column == source.text_column:
        raise InputError(
            f"{option('query_column')} and {option('text_column')} are both {source.query_column!r}: a text would be "
            "its own document"
        )


def with_query(table: Table, column: str, tally: Tally) -> tuple[Table, list[str]]:
    """The rows that have a query, and their queries."""
    found = cells.captions_of(table, column, tally)
    several = next((row for row, texts in enumerate(found) if len(texts) > 1), None)
    if several is not None:
        raise InputError(f"{table.where(several)}, column {column!r}: {len(found[several])} queries in a cell, not one")
    rows = [row for row, texts in enumerate(found) if texts]
    if not rows:
        raise InputError(f"{table.file}: no query in column {column!r}; name another with {option('query_column')}")
    empty = len(found) - len(rows)
    if empty:
        first = next(row for row, texts in enumerate(found) if not texts)
        tally.leave_out("rows", "the query is empty", table.where(first).removeprefix(f"{table.file} "), count=empty)
        table = table.kept(rows)
    return table, [found[row][0] for row in rows]


def ids_of(queries: Sequence[str]) -> list[str]:
    """What each query is known by: itself, or its beginning and its sha256."""
    return [text if len(text) <= LONGEST_ID else f"{text[:LONGEST_ID]}#{_sha256(text)[:16]}" for text in queries]


def _sha256(text: str) -> str:
    return TextQuery(text).identity()
