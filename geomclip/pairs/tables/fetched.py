"""Tables that lie at addresses: brought into the cache and read there; nothing that they name is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geomclip.machine import remote
from geomclip.machine.addresses import plain
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs.patterns import has_pattern
from geomclip.pairs.record import FolderImage, Pairs
from geomclip.pairs.source import Source

RULES = (
    "A table may lie at an address, csv:https://HOST/pairs.csv or parquet:s3://BUCKET/pairs.parquet: one file, which "
    "is kept in the cache (docs/remote.md). Its images are in its cells, or lie in --image-root: nothing else is "
    "fetched.",
)


def brought(source: Source, *, cache_dir: Path | None = None, progress: Progress = SILENT) -> Source:
    """The source with the file in the cache in place of its address.

    Raises
    ------
    InputError
        If it is a pattern, is refused, absent, too large, or not as its sum says.
    """
    address, limit = source.place, "remote-bytes" if source.format == "parquet" else "table-bytes"
    if has_pattern(plain(address)):
        raise InputError(f"{plain(address)}: at an address one file is read, and no pattern: name the file")
    file = remote.fetched(address, limit, folder=cache_dir, progress=progress)
    return replace(source, data=f"{source.format}:{file}")


def check_images(pairs: Pairs, address: str, source: Source) -> None:
    """Refuse a table whose images are files beside it, where nobody says in which folder of this machine they are."""
    beside = Path(source.place).parent
    if source.image_root is None and any(
        isinstance(pair.image, FolderImage) and pair.image.root == beside for pair in pairs.pairs
    ):
        raise InputError(
            f"{plain(address)}: its images are files beside it, and the table alone is fetched: "
            f"{option('image_root', 'FOLDER')} says where they lie on this machine"
        )
