"""Copies: which images are one image given more than once, and what that does to retrieval."""

from __future__ import annotations

from geomclip.metrics import contributions as parts
from geomclip.metrics.copies import first_copies, rows_once, share_with_copies, unit_of_rows
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.panels.run import Run

FIRST_HIT = ("image_retrieval_recall@1", "text_retrieval_recall@1")
"""Recall@1 by text and by image."""


def units(run: Run) -> None:
    """Number the images so that copies have one number."""
    with run.timed("copies"):
        run.found.units = run.found.image_items["unit"] = unit_of_rows(first_copies(run.image))
        run.put("duplicate_image_share", share_with_copies, run.found.units)


def warning(run: Run) -> None:
    """How many images are copies; and where there are ranks, what recall@1 is with each image once."""
    assert run.found.units is not None
    count = len(rows_once(run.found.units))
    if count == 1:
        run.found.copies = f"all {run.n} image rows are copies of one another"
    elif count < run.n:
        counted = f"{run.n - count} of {run.n} image rows are copies of others"
        whole = run.options.sample_blocks is None
        if whole and run.pairing is not None and "cross ranks" in run.folds:
            text, image = _first_hits(run.found.columns)
            with run.timed("copies"):
                text_once, image_once = _first_hits(_columns_once(run))
            run.found.copies = (
                f"{counted}; a copy counts against its query: R@1 by text {text:.3f}, by image {image:.3f}, "
                f"with each image once (image_of_text) {text_once:.3f} and {image_once:.3f}"
            )
        else:
            run.found.copies = f"{counted}: they count as images of their own"


def _columns_once(run: Run) -> parts.Columns:
    """What each image adds to recall where one image stands for all its copies and has the texts of all."""
    assert run.found.units is not None
    pairing = run.pairs()
    once = Pairing.of(run.image[rows_once(run.found.units)], pairing.text, run.found.units[pairing.own])
    (ranks,) = run.sweep("sweep without copies", None, once, [Ranks()])
    return parts.text_columns(once) | parts.retrieval_columns(once, ranks)


def _first_hits(columns: parts.Columns) -> list[float]:
    return [parts.value_of(key, columns) or 0.0 for key in FIRST_HIT]
