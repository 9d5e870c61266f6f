"""Source: which pairs are meant, by the options that say so; one record from the caller to the reader."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Source:
    """Which pairs are meant, and the defaults of the options that say so.

    Parameters
    ----------
    data : str
        A name of `geomclip.pairs.DATASETS`: emoji, coco, flickr30k, csv:FILE, folder:DIR, wds:PATTERN, ...
    split : str, optional
        Left out: test if the set has one, else val; "all" for a set without splits.
    data_root : path, optional
        Folder of a named set, or the folder that holds it under its name. Left out: data/ in the cache.
    limit : int, optional
        Only the first images.
    image_column, text_column, image_id_column : str
        For tables (csv, tsv, jsonl, parquet). Rows of one image id are one image; without that column,
        rows of one path are.
    image_root : path, optional
        For tables: the folder that their paths are relative to. Left out: the table's own.

    query_column : str, optional
        For tables of texts alone: the column of queries, in place of images; `text_column` has their documents. Rows
        of one query are one query.

    Examples
    --------
    >>> source = Source("csv:photos/pairs.csv")
    >>> source.format, source.place, source.title
    ('csv', 'photos/pairs.csv', 'csv:pairs.csv')
    """

    data: str = "emoji"
    split: str | None = None
    data_root: str | Path | None = None
    limit: int | None = None
    image_column: str = "filepath"
    text_column: str = "title"
    image_id_column: str | None = None
    image_root: str | Path | None = None
    query_column: str | None = None

    named: ClassVar[bool] = True  # whether classes must have names that prompts can be made of

    @property
    def format(self) -> str:
        """What stands before the ':', the whole name of a set that has none."""
        return self.data.partition(":")[0]

    @property
    def place(self) -> str:
        """The file, folder or pattern that stands after the ':'."""
        return self.data.partition(":")[2]

    @property
    def title(self) -> str:
        """What results call data that are named by a place: its last part, which is alike on all machines."""
        return f"{self.format}:{os.path.basename(os.path.abspath(expanded(self.place)))}"


class Unnamed(Source):
    """The same pairs where the names of classes come from elsewhere: they may be called by numbers or WordNet ids."""

    named: ClassVar[bool] = False


def expanded(path: str | Path) -> Path:
    """The path with `~` expanded; left alone where there is no such user (Path.expanduser raises)."""
    return Path(os.path.expanduser(path))
