"""The commands of `geomclip cache`: what it holds, and clearing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geomclip.cli.commands import Commands, examples
from geomclip.cli.options import CACHE, DEBUG, switch, text
from geomclip.cli.terminal import say_json, stdout_console
from geomclip.machine.errors import InputError
from geomclip.machine.files import cache_dir as cache_folder

AS_JSON = switch("--json", "Print it as JSON, not as a table.", "as_json")
PRUNE = [
    text("--older-than", "AGE", "Remove what was neither written nor read for so long: 30d, 12h, 2w."),
    text("--max-size", "SIZE", "Then what was used longest ago, until this is left: 10GB, 500MB."),
    switch("--dry-run", "Say what would go, and remove nothing."),
    AS_JSON,
]


@click.group(
    cls=Commands,
    invoke_without_command=True,
    params=[AS_JSON, *CACHE, *DEBUG],
    epilog=examples("geomclip cache", "geomclip cache --json", "geomclip cache prune --older-than 30d --dry-run"),
)
@click.pass_context
def cache(context: click.Context, /, as_json: bool, cache_dir: Path | None, **_: Any) -> None:
    """List what the cache holds: what each entry is, its size, and when it was used last."""
    if context.invoked_subcommand is not None:
        # what stands before the name of the subcommand holds for it, too
        context.default_map = {context.invoked_subcommand: {"cache_dir": cache_dir, "as_json": as_json}}
        return
    from geomclip.cli import cache as caching
    from geomclip.cli import listings

    found = caching.contents(cache_folder(cache_dir))
    if as_json:
        say_json(listings.cache_json(found))
    else:
        listings.print_cache(found, stdout_console(), weights_elsewhere=cache_dir is None)


@cache.command(
    params=[*PRUNE, *CACHE, *DEBUG],
    epilog=examples(
        "geomclip cache prune --older-than 30d --dry-run",
        "geomclip cache prune --max-size 10GB",
        "geomclip cache prune --older-than 2w --max-size 5GB --json",
    ),
)
def prune(older_than: str | None, max_size: str | None, *, as_json: bool, dry_run: bool, **options: Any) -> None:
    """Remove embeddings, weights, nulls, what came from addresses and what was left unfinished.

    It is made or fetched again when it is needed.

    Data sets stay, as does what is in use, and what holds files that are not geomclip's.
    """
    if older_than is None and max_size is None:
        raise InputError("say what may go: --older-than 30d, --max-size 10GB, or both")
    from geomclip.cli import cache as caching
    from geomclip.cli import listings, quantities

    age = None if older_than is None else quantities.age(older_than)
    most = None if max_size is None else quantities.size(max_size)
    done = caching.prune(cache_folder(options["cache_dir"]), older_than=age, max_size=most, dry_run=dry_run)
    if as_json:
        say_json(listings.cache_json(done))
    else:
        listings.print_pruned(done, stdout_console())
