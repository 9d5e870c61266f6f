"""What every command of the line shares: groups that answer mistyped names, and the form of examples."""

from __future__ import annotations

import click

from geomclip.machine.words import nearest


class Commands(click.Group):
    """A group of commands that answers a mistyped name with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but the error names what was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            near = nearest(name, known) or f"; the commands are {', '.join(known)}"
            raise click.UsageError(f"no command {name!r}{near}", ctx)
        return super().resolve_command(ctx, args)


def examples(*lines: str) -> str:
    """The end of a help text, with its line ends kept."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
