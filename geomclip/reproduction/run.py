"""Run the rows, one after another; what is done is kept, and not done again while its contents are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.clip import choose_precision
from geomclip.encoders.extraction.calls import embed
from geomclip.encoders.extraction.plan import BATCH_SIZE
from geomclip.machine import json_files
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.files import make_folder, refuse_links
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Named, Progress
from geomclip.machine.sums import read_sealed, write_sealed
from geomclip.machine.version import __version__
from geomclip.machine.words import nearest, one_line, option
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.record import Pairs
from geomclip.pairs.source import expanded
from geomclip.panels import measure
from geomclip.panels.options import Measuring
from geomclip.reproduction import classes, fine_tuned
from geomclip.reproduction.availability import Place, listed_models, place_of
from geomclip.reproduction.record import Reproduction
from geomclip.reproduction.rows import ROWS, Row
from geomclip.reproduction.verdicts import Found, Outcome

OUT = Path("runs/reproduce")
SCHEMA = "geomclip.reproduced/1"
KEPT, PANEL = "kept.json", "panel.json"


@dataclass(frozen=True)
class How:
    """How all rows are run."""

    out: Path
    data_root: str | Path | None = None
    cache_dir: Path | None = None
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    limit: int | None = None
    bootstrap: int = Measuring.bootstrap

    def embedding(self) -> dict[str, Any]:
        """Of `embed`."""
        names = ("cache_dir", "batch_size", "workers", "device", "precision")
        return {name: getattr(self, name) for name in names}

    def source(self, row: Row, split: str) -> Source:
        """Where pairs of a row come from."""
        return Source(row.data, split, self.data_root, self.limit)


def reproduce(
    *,
    only: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    data: str | Sequence[str] = (),
    out: str | Path = OUT,
    data_root: str | Path | None = None,
    cache_dir: Path | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    limit: int | None = None,
    bootstrap: int = Measuring.bootstrap,
    rows: Sequence[Row] | None = None,
    progress: Progress = SILENT,
) -> Reproduction:
    """Lay published numbers of known models beside ours on this machine.

    Parameters
    ----------
    only, model, data : str or sequence of str
        Rows by their names, models or data. Left out: all.
    out : path
        Gets a folder a row: `panel.json` with its items, and `kept.json` with what the table needs. A row whose
        contents are what they were is not measured again, nor is anything encoded again.
    data_root, cache_dir, batch_size, workers, device, precision
        As `embed` takes them.
    limit : int, optional
        Only the first images: to see that all works. Such numbers are compared with none.
    bootstrap : int
        0 for no intervals.
    rows : sequence of Row
        Left out: the published ones.
    progress : Progress, optional

    Returns
    -------
    Reproduction
        Its `check` raises where a number is off, or was not run.

    Raises
    ------
    InputError
        If no row has such a name, model or data; if `out` is being written, or a folder in it is a link.

    Examples
    --------
    >>> reproduce(only="b32-openai-coca")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: only: no row 'b32-openai-coca'; did you mean b32-openai-coco or ...?
    """
    wanted = chosen(ROWS if rows is None else rows, only=only, model=model, data=data)
    _check_root(data_root)
    choose_precision(precision, choose_device(device))  # what no row could be run with is refused at once
    folder = Path(out).expanduser()
    how = How(folder, data_root, cache_dir, batch_size, workers, device, precision, limit, bootstrap)
    with Lock(make_folder(folder)):
        refuse_links(folder, *(row.name for row in wanted))
        outcomes = []
        for number, row in enumerate(wanted):
            progress.stage("rows", number, len(wanted), row.name)
            outcomes.append(_outcome(row, how, Named(progress, row.name)))
        progress.stage("rows", len(wanted), len(wanted))
    return Reproduction(tuple(outcomes))


def places(
    *,
    only: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    data: str | Sequence[str] = (),
    out: str | Path = OUT,
    data_root: str | Path | None = None,
    cache_dir: Path | None = None,
    rows: Sequence[Row] | None = None,
) -> list[Place]:
    """What `reproduce` would run, and what is here for it; nothing is run or fetched. Parameters are its own."""
    _check_root(data_root)
    found, listed = [], listed_models(cache_dir)
    for row in chosen(ROWS if rows is None else rows, only=only, model=model, data=data):
        kept = (Path(out).expanduser() / row.name / KEPT).is_file()
        result = f"kept in {Path(out) / row.name}" if kept else "none yet"
        found.append(place_of(row, listed, data_root=data_root, cache_dir=cache_dir, result=result))
    return found


def chosen(
    rows: Sequence[Row], *, only: str | Sequence[str], model: str | Sequence[str], data: str | Sequence[str]
) -> list[Row]:
    """The rows that have one of the names, of the models and of the data, in their order; InputError if none has."""
    left = list(rows)
    for name, what, wanted in (("only", "name", only), ("model", "model", model), ("data", "data", data)):
        words = [wanted] if isinstance(wanted, str) else list(wanted)
        known = list(dict.fromkeys(str(getattr(row, what)) for row in rows))
        for word in words:
            if word.lower() not in map(str.lower, known):
                near = nearest(word, known) or f"; there are {', '.join(known)}"
                raise InputError(f"{option(name)}: no row {'' if what == 'name' else f'of {what} '}{word!r}{near}")
        if words:
            left = [row for row in left if getattr(row, what).lower() in map(str.lower, words)]
    if not left:
        given = ", ".join(option(name) for name, value in (("only", only), ("model", model), ("data", data)) if value)
        raise InputError(f"no row has all of {given}: `geomclip reproduce --list` shows them")
    return left


def _check_root(data_root: str | Path | None) -> None:
    if data_root is not None and not expanded(data_root).is_dir():
        raise InputError(f"{option('data_root')}: {data_root} is not a folder")


def _outcome(row: Row, how: How, progress: Progress) -> Outcome:
    """A row that was run, or the reason why it could not be; what befalls the machine ends all."""
    try:
        found, kept = _trained(row, how, progress) if row.trained else _measured(row, how, progress)
    except NotAvailableError as absent:
        # the command has no option for weights of other names
        return Outcome(row, why=one_line(absent).partition(", or give the file with")[0], missing=True)
    except InputError as problem:
        return Outcome(row, why=one_line(problem))
    return Outcome(row, found, kept=kept)


def _measured(row: Row, how: How, progress: Progress) -> tuple[Found, bool]:
    embeddings = embed(row.model, _pairs(row, how), **how.embedding(), progress=progress)
    key = _key(row, how, embeddings)
    folder = how.out / row.name
    if (kept := _kept(folder, key, progress)) is not None:
        return kept, True
    panel = measure(
        embeddings,
        metrics=[number.key for number in row.numbers],
        captions=row.captions,
        bootstrap=how.bootstrap,
        device=how.device,
        cache_dir=how.cache_dir,
        progress=progress,
    )
    panel.save(make_folder(folder) / PANEL)
    return _keep(folder, row, how, key, panel.values, panel.ci, embeddings), False


def _trained(row: Row, how: How, progress: Progress) -> tuple[Found, bool]:
    folder = how.out / row.name
    after = fine_tuned.runs(row, how.source, how.embedding(), folder, limit=how.limit, progress=progress)
    key = _key(row, how, *after.values())
    if (kept := _kept(folder, key, progress)) is not None:
        return kept, True
    keys = [number.key for number in row.numbers]
    values, ci = fine_tuned.compared(
        after, keys, bootstrap=how.bootstrap, cache_dir=how.cache_dir, out=folder, progress=progress
    )
    return _keep(folder, row, how, key, values, ci, after["m2mix"]), False


def _pairs(row: Row, how: How) -> Pairs:
    if row.classes is not None:
        return classes.read(row, how.data_root, how.cache_dir, how.limit)
    return load_pairs(how.source(row, row.split), cache_dir=how.cache_dir)


def _key(row: Row, how: How, *sets: EmbeddingSet) -> str:
    """Of all that decides the values: the rows of vectors, the row of the table, and how it is measured."""
    contents = [[each.features_sha256(), each.logit_scale, len(each.image)] for each in sets]
    measured = [row.captions, row.trained, [number.key for number in row.numbers], how.bootstrap, how.limit]
    known = json.dumps([__version__, contents, measured], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()


def _kept(folder: Path, key: str, progress: Progress) -> Found | None:
    """What an earlier run kept of the same contents; None if it did not, or what it kept is damaged, in one line."""
    file = folder / KEPT
    if not file.is_file():
        return None
    try:
        kept = read_sealed(file)
        if kept.get("schema") != SCHEMA or kept.get("key") != key:
            return None
        values = json_files.mapped(json_files.number_or_none)(kept.get("values"), "values")
        ci = json_files.mapped(json_files.interval)(kept.get("ci"), "ci")
        images = json_files.count(kept.get("images"), "images")
        made_from = json_files.mapped(json_files.anything)(kept.get("made_from"), "made_from")
    except (OSError, ValueError) as problem:
        progress.log(f"{one_line(problem)}; it is measured again")
        return None
    return Found(values, ci, images, bool(kept.get("limited")), key, made_from)


def _keep(
    folder: Path,
    row: Row,
    how: How,
    key: str,
    values: Mapping[str, float | None],
    ci: Mapping[str, tuple[float, float]],
    embeddings: EmbeddingSet,
) -> Found:
    keys = [number.key for number in row.numbers]
    made_from = json.loads(json.dumps(dict(embeddings.made_from), default=str))
    found = Found(
        {each: values.get(each) for each in keys},
        {each: ci[each] for each in keys if each in ci},
        len(embeddings.image),
        how.limit is not None,
        key,
        made_from,
    )
    write_sealed(folder / KEPT, {"schema": SCHEMA, "row": row.name, **asdict(found)})
    return found
