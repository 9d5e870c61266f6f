"""Tables of images and captions: csv, tsv, jsonl, json, parquet and Arrow, one row a caption or an image.

What is read, and by which rules, stands in RULES of the files of `pairs/tables/`, each with one part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option
from geomclip.pairs.parsing import choose_split, clean, grouped, need, numbered
from geomclip.pairs.record import FolderImage, ImageSource, Pair, Pairs, TextQuery
from geomclip.pairs.source import Source
from geomclip.pairs.tables import arrow, cells, json_rows, labels, names, paths, queries, separated, shards
from geomclip.pairs.tables.columns import Table, joined, one_of_each
from geomclip.pairs.tables.stored import RowImage

RULES = (
    "Rows of one image (of one image-id column, else of one path) are one image with the captions of all of them.",
    "A column `split` makes splits, `label` becomes the label; other columns of text, whole numbers or truth values "
    "are kept, unless their value differs between rows of one image.",
)

SHARED = 10_000
"""So many different sets of other columns are kept once for all images that have them."""


def read(source: Source, place: Path) -> Pairs:
    """The images of a table in the order they first appear, each with the texts of all its rows."""
    tally = Tally()
    if source.query_column is not None:
        queries.check(source)
    table, split, splits = _table(source, place, tally)
    table = names.with_captions_together(table, source, tally)
    chosen = names.choose_columns(table, source, tally)
    if not table.n_rows:
        raise InputError(f"{table.file} has no rows")
    if not splits:
        table, split = _of_split(table, source, tally)
    of_texts = source.query_column is not None
    one, many = ("queries", "documents") if of_texts else ("images", "captions")
    if of_texts:
        table, images, keys = _queries(table, chosen.image, source, tally)
        root = None
    else:
        images, keys, root = _images(table, chosen, source, tally)
    groups = grouped(keys)
    tally.use("rows", table.n_rows)
    others, varying = _other_columns(table, chosen, source, groups)
    notes = tuple(f"column {column!r} was left out: it differs between rows of one image" for column in varying)
    made = Pairs(source.title, split, (), notes=notes, root=root, of_texts=of_texts)
    if chosen.label is not None:
        return _of_classes(table, chosen.label, images, groups, others, made, tally)
    captions = cells.captions_of(table, chosen.text, tally)
    empty = sum(not texts for texts in captions)
    if empty == len(captions):
        raise InputError(
            f"{table.file}: {empty} rows, but no {many.removesuffix('s')} in column {chosen.text!r}; "
            f"say which column has them with {option('text_column')}"
        )
    tally.leave_out(many, "the cell is empty", _some_place(table, captions), count=empty)
    tally.use(many, sum(map(len, captions)))
    own = others.pop("label", None)
    pairs = []
    for (image_id, rows), label, columns in zip(
        groups.items(), own or itertools.repeat(""), _by_row(others), strict=False
    ):
        texts = captions[rows[0]] if len(rows) == 1 else tuple(text for row in rows for text in captions[row])
        ids = (f"{image_id}#0",) if len(texts) == 1 else numbered(image_id, texts)
        pairs.append(Pair(image_id, images[rows[0]], texts, ids, label, columns))
    tally.use(one, len(pairs))
    return replace(made, pairs=pairs, read=tally.read())


def _queries(
    table: Table, column: str, source: Source, tally: Tally
) -> tuple[Table, Sequence[ImageSource], Sequence[str]]:
    """The rows that have a query, of each its query and what that is known by."""
    table, texts = queries.with_query(table, column, tally)
    ids = _given_ids(table, source)
    if ids:
        one_of_each(table, ids, texts, what="id")
    return table, [TextQuery(text) for text in texts], ids or queries.ids_of(texts)


def _of_classes(
    table: Table,
    column: str,
    images: Sequence[ImageSource],
    groups: Mapping[str, Sequence[int]],
    others: Mapping[str, Sequence[str]],
    made: Pairs,
    tally: Tally,
) -> Pairs:
    """The images of a table that has classes in place of captions."""
    keys = labels.keys_of(table, column)
    of_image = labels.labels_of(table, column, groups, keys)
    names, prompts = labels.named(table, column, keys, str(table.file), tally)
    rows = zip(groups.items(), of_image, _by_row(others), strict=False)
    pairs = [
        Pair(image_id, images[own[0]], label=names[key], columns=columns) for (image_id, own), key, columns in rows
    ]
    tally.use("images", len(pairs))
    having = set(of_image)
    without = [key for key in keys if key not in having]
    tally.use("classes", len(keys) - len(without))
    tally.leave_out("classes", "no image, so only a prompt", next(iter(without), ""), len(without))
    classes = tuple(names[key] for key in keys)
    return replace(made, pairs=pairs, classes=classes, class_prompts=prompts, read=tally.read())


def _by_row(others: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Of each image its other columns; those that are alike are kept once."""
    known: Iterable[tuple[str, ...]] = zip(*others.values(), strict=True) if others else itertools.repeat(())
    shared: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
    for values in known:
        columns = shared.get(values)
        if columns is None:
            columns = tuple(zip(others, values, strict=True))
            if len(shared) < SHARED:
                shared[values] = columns
        yield columns


def _table(source: Source, place: Path, tally: Tally) -> tuple[Table, str, bool]:
    """The rows, and where the files themselves make splits, which of them these are."""
    found = shards.find(source, place, tally)
    if "" not in found and "split" in _column_names(next(iter(found.values())).files[0], source):
        every = tuple(file for each in found.values() for file in each.files)
        found = {"": shards.Shards(every, next(iter(found.values())).folder)}
        tally.understood("the splits are those of column 'split', not of the names of the files")
    chosen = shards.of_split(source, found, f"{source.format}:{place}")
    tables = [_read(file, source, tally) for file in chosen.files]
    tally.use("files", len(tables))
    return joined(place, chosen.folder, tables), chosen.split, "" not in found


def _read(file: Path, source: Source, tally: Tally) -> Table:
    if source.format in separated.OWN:
        return separated.read(file, source, tally)
    return arrow.read(file) if source.format == "parquet" else json_rows.read(file, source, tally)


def _column_names(file: Path, source: Source) -> Iterable[str]:
    return arrow.column_names(file) if source.format == "parquet" else _read(file, source, Tally()).columns


def _of_split(table: Table, source: Source, tally: Tally) -> tuple[Table, str]:
    """The rows of the split that is meant, and its name."""
    name = f"{source.format}:{table.file}"
    column = next((each for each in table.columns if each.strip().lower() == "split"), None)
    if column is None:
        return table, choose_split(source.split, (), name=name)
    values = table.columns[column]
    for row, value in enumerate(values):
        if type(value) is not str or not value.strip():
            need(value or None, str, entry=f"{table.where(row)}, column {column!r}")
    values = [value.strip() for value in values]
    split = choose_split(source.split, tuple(dict.fromkeys(values)), name=name)
    rows = [row for row, value in enumerate(values) if value == split]
    return (table if len(rows) == table.n_rows else table.kept(rows)), split


def _images(
    table: Table, chosen: names.Chosen, source: Source, tally: Tally
) -> tuple[Sequence[ImageSource], Sequence[str], Path | None]:
    """Of each row its image and its id, and the folder of the images where they are files of their own."""
    values = table.columns[chosen.image]
    ids = _given_ids(table, source)
    if isinstance(values[0], RowImage):
        if ids:
            arrow.check_ids(table, ids, values)
        return values, ids or arrow.ids_of(values, tally), None
    root = paths.image_root(table, source)
    found = paths.paths_of(table, chosen.image, root, tally, chosen.folder)
    if ids:
        _check_ids(table, ids, found, tally)
    paths.refuse_if_elsewhere(table, chosen.image, found, root)
    made = {path: FolderImage(root, path) for path in dict.fromkeys(found)}
    elsewhere = paths.elsewhere(made)
    made |= {path: FolderImage(folder, name) for path, (folder, name) in elsewhere.items()}
    if made.keys() == elsewhere.keys():
        root = next(iter(elsewhere.values()))[0]
    shown = [made[path].path for path in found] if elsewhere else found
    shown = shown if all(map(str.isascii, made)) else [clean(path) for path in shown]
    return [made[path] for path in found], ids or shown, root


def _given_ids(table: Table, source: Source) -> list[str] | None:
    if source.image_id_column is None:
        return None
    ids = [_text(value) for value in table.columns[source.image_id_column]]
    if not all(ids):
        raise InputError(f"{table.where(ids.index(''))}: column {source.image_id_column!r} is empty")
    return ids


def _check_ids(table: Table, ids: Sequence[str], found: Sequence[str], tally: Tally) -> None:
    """InputError for an id of two paths; a path of two ids is two images, and said."""
    path_of = one_of_each(table, ids, found, what="image id")
    if again := len(path_of) - len(set(path_of.values())):
        tally.understood(f"{again} image ids stand for a file that another id has too: they are images of their own")


def _other_columns(
    table: Table, chosen: names.Chosen, source: Source, groups: Mapping[str, Sequence[int]]
) -> tuple[dict[str, list[str]], list[str]]:
    """What else is known of each image, by column; and the columns that differ between rows of one image."""
    used = {chosen.image, chosen.text, chosen.folder, source.image_id_column, "split"}
    several = [rows for rows in groups.values() if len(rows) > 1]
    firsts = [rows[0] for rows in groups.values()]
    others: dict[str, list[str]] = {}
    varying = []
    for name, values in table.columns.items():
        if name in used or not set(map(type, values)) <= {str, int, bool, type(None)}:
            continue
        if any(_text(values[row]) != _text(values[rows[0]]) for rows in several for row in rows[1:]):
            varying.append(name)
        else:
            others[name] = [_text(values[row]) for row in firsts]
    return others, varying


def _text(value: Any) -> str:
    return value if type(value) is str and value.isascii() else "" if value is None else clean(str(value))


def _some_place(table: Table, captions: Sequence[tuple[str, ...]]) -> str:
    """Where the first row without a caption is, if there is one."""
    row = next((row for row, texts in enumerate(captions) if not texts), None)
    return "" if row is None else table.where(row).removeprefix(f"{table.file} ")
