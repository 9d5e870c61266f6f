"""card: the file, written whole or not at all, and what is uploaded with it on request."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.outputs import check_output_file
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.reports.model_card.drawing import draw
from geomclip.reports.model_card.front import bases_of, check_licence, front_matter, licence_of
from geomclip.reports.model_card.public import public
from geomclip.reports.model_card.pushing import README, Push
from geomclip.reports.model_card.run import Run, read_run
from geomclip.reports.model_card.text import WRITTEN, body


@dataclass(frozen=True)
class Card:
    """A card that was written.

    Attributes
    ----------
    path : Path
        README.md, or as it was called.
    figures : sequence of Path
        Pictures that it shows, beside it.
    files : sequence of (name, bytes)
        What is uploaded where it is pushed, and what was where it has been; empty without `push`.
    address : str
        Where it is on the hub; empty if it was not uploaded.
    """

    path: Path
    figures: Sequence[Path] = ()
    files: Sequence[tuple[str, int]] = ()
    address: str = ""

    def __str__(self) -> str:
        return self.path.read_text(encoding="utf-8")


def card(
    run: str | Path,
    out: str | Path | None = None,
    *,
    name: str = "",
    license: str | None = None,
    sphere: bool = False,
    push: str | None = None,
    private: bool = False,
    include: Sequence[str] = (),
    dry_run: bool = False,
    cache_dir: str | Path | None = None,
    progress: Progress = SILENT,
) -> Card:
    """Write the model card of a run of finetune: what changed, how it is loaded, how it was made, what is not known.

    It has YAML front matter that the hub reads. Paths of this machine are not in it.

    Parameters
    ----------
    run : path
        A run folder of `finetune`, of any method; of one that is not finished the card says so.
    out : path, optional
        A file that ends in .md; its pictures go beside it. Left out: README.md in the run folder.
    name : str
        What the model is called. Left out: the repository, else the run folder.
    license : str, optional
        As the hub calls it, "mit" for example. Left out: that of the base where it is known, else the card says that
        none is named.
    sphere : bool
        Draw the reported split on the sphere before and after too: it is encoded again, or taken from the cache.
    push : str, optional
        ORGANISATION/NAME: upload card, pictures and weights there, by the login of huggingface_hub.
    private : bool
        Of a repository that is made for it.
    include : sequence of str
        Files of the run folder to be uploaded too; nothing else of it is.
    dry_run : bool
        List what would be uploaded, and upload nothing.
    cache_dir : path, optional
        Left out: the folder that `geomclip doctor` names.
    progress : Progress, optional
        Takes lines of text: what is uploaded, before it is.

    Returns
    -------
    Card

    Raises
    ------
    InputError
        If the folder is no run, a file is damaged, `license` can be no id, `out` is there and no card, or a run
        without weights is pushed.
    NotAvailableError
        If nobody is logged in, or the hub cannot be reached.
    """
    cache = None if cache_dir is None else Path(cache_dir)
    if push is None and (private or include or dry_run):
        words = {"private": private, "include": include, "dry_run": dry_run}
        given = next(option(word, True if there is True else None) for word, there in words.items() if there)
        raise InputError(f"{given} is of what is uploaded: add {option('push')}")
    if license is not None:
        check_licence(license)
    found = read_run(run, cache_dir=cache)
    path = found.folder / README if out is None else Path(out).expanduser()
    _check_place(path)
    target = None if push is None else Push(push, private, tuple(include))
    if target is not None:
        target.check(found, sends=not dry_run)
    drawn = draw(found, path.parent, sphere=sphere, cache_dir=cache, progress=progress)
    called = name or (push or "").rpartition("/")[2] or public(found.folder.resolve().name)
    licence = license or licence_of(bases_of(found))
    figures = {file.name: shows for file, shows in drawn.items()}
    text = body(found, called, licence=licence, figures=figures, repository=push)
    atomic_bytes(path, f"---\n{front_matter(found, called, licence)}\n---\n\n{text}".encode("utf-8", "replace"))
    written = Card(path, list(drawn))
    return written if target is None else _pushed(written, target, found, dry_run=dry_run, progress=progress)


def _pushed(written: Card, target: Push, run: Run, *, dry_run: bool, progress: Progress) -> Card:
    """Upload what a card says, after a list of it."""
    with tempfile.TemporaryDirectory(prefix="geomclip-card-") as folder:
        stage = Path(folder) / "upload"
        files = target.staged(run, written.path, written.figures, stage)
        progress.log(f"{'would go' if dry_run else 'goes'} to {target.repository}:")
        for name, size in files:
            progress.log(f"  {name} ({size:,} bytes)")
        address = "" if dry_run else target.upload(stage)
    return replace(written, files=files, address=address)


def _check_place(path: Path) -> None:
    """InputError for a place that is no file in Markdown, or holds one that is not a card of ours."""
    check_output_file(path, ".md")
    if path.is_symlink():
        raise InputError(f"{path} is a link, which is never written through: name another {option('out')}")
    if path.exists() and WRITTEN not in path.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{path} is there and was not written by geomclip card: name another {option('out')}")
