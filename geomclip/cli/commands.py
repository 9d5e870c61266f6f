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


class Spread(click.Command):
    """A command of which one option takes all words that follow it, up to the next option: `--between A B C`."""

    spread = "--between"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the option before each of the words."""
        return super().parse_args(ctx, spread(args, self.spread))


def spread(args: list[str], flag: str) -> list[str]:
    """The arguments, with the flag before each of the words that follow it.

    Examples
    --------
    >>> spread(["--between", "a", "b", "--quiet"], "--between")
    ['--between', 'a', '--between', 'b', '--quiet']
    """
    found: list[str] = []
    after, taken = False, 0
    for arg in args:
        if arg.startswith("-"):
            after, taken = arg == flag or arg.startswith(f"{flag}="), int(arg.startswith(f"{flag}="))
            found.append(arg)
            continue
        found += [flag, arg] if after and taken else [arg]
        taken += 1
    return found


def examples(*lines: str) -> str:
    """The end of a help text, with its line ends kept."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
