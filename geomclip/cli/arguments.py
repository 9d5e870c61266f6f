"""Arguments: what a command makes of its options before it calls; refusals of those that do not go together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from geomclip.cli.options import BOOTSTRAP, CACHE, DATA, MODEL, OWN, PAGE, PLANNED, SEED, WORK
from geomclip.cli.outs import pages
from geomclip.machine.errors import InputError
from geomclip.machine.places import shown_command
from geomclip.machine.progress import Progress
from geomclip.machine.words import option


def names(*groups: list[click.Option]) -> list[str]:
    """The parameter names of groups of options."""
    return [each.name for group in groups for each in group if each.name]


def picked(options: dict[str, Any], *groups: list[click.Option]) -> dict[str, Any]:
    """The values of the options of these groups."""
    return {name: options[name] for name in names(*groups)}


def extraction(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """How embeddings are made, under the names of `embed`: the encoder that --encoder names is the model."""
    chosen = picked(options, MODEL, OWN, DATA, WORK, SEED, CACHE)
    return own_encoder(context, chosen)


def own_encoder(context: click.Context, chosen: dict[str, Any]) -> dict[str, Any]:
    """The options of MODEL and OWN under the names of `embed`."""
    encoder, name = chosen.pop("encoder"), chosen.pop("encoder_name")
    if encoder is None:
        if name is not None:
            raise InputError("--encoder-name is of your own code: name it with --encoder")
        return chosen
    if "model" in typed(context, MODEL):
        raise InputError("--encoder is in place of a model: leave out --model")
    return chosen | {"model": f"encoder:{encoder}", "name": name}


def typed(context: click.Context, *groups: list[click.Option]) -> dict[str, Any]:
    """What the command line has for the options of these groups, without their defaults."""
    line = click.core.ParameterSource.COMMANDLINE
    return {name: context.params[name] for name in names(*groups) if context.get_parameter_source(name) == line}


def made_with(context: click.Context) -> str | None:
    """The command that is running, as it is written into what it makes."""
    return shown_command(context.obj) if context.obj else None


def flags(options: Sequence[str]) -> str:
    """Options as one types them, with commas between."""
    return ", ".join(map(option, options))


def refuse_beside_embeddings(context: click.Context, *, but: Collection[str] = ()) -> None:
    """Options that say how to extract have no meaning where the vectors are at hand, but for those named here."""
    if clash := [name for name in typed(context, MODEL, OWN, DATA, WORK) if name not in but]:
        raise InputError(f"--embeddings says what to measure: leave out {flags(clash)}")


def check_plan(context: click.Context, options: dict[str, Any], result: Path | None) -> None:
    """Of a plan: refuse what says how to measure beside a result, and to measure without intervals."""
    if result is not None:
        if result.suffix != ".json":
            raise InputError(f"{result} is no result (.json): name vectors with --embeddings, a model with --model")
        if clash := list(typed(context, PLANNED, MODEL, OWN, DATA, WORK, SEED)):
            raise InputError(f"{result} is measured: leave out {flags(clash)}, or leave it out")
    elif options["bootstrap"] == 0:
        raise InputError("--bootstrap 0 makes no intervals, and a plan is made from them: leave it out")
    elif options["embeddings"] is not None:
        refuse_beside_embeddings(context, but={"device"})


def of_sides(context: click.Context, options: dict[str, Any], *groups: list[click.Option]) -> dict[str, Any]:
    """What the command line has that says how sides are extracted and measured, under the names of `compare`."""
    from geomclip.panels import sources

    on_the_line = typed(context, MODEL, DATA, WORK, *groups)
    chosen = {name: value for name, value in on_the_line.items() if name in sources.OPTIONS}
    scale = logit_scale(options)
    return chosen if scale is None else chosen | {"logit_scale": scale}


def of_file(options: dict[str, Any]) -> dict[str, Any]:
    """How a file of vectors is read, under the names of `sources.vectors`."""
    how = {"columns": options["columns"], "logit_scale": logit_scale(options)}
    return how | ({"dtype": options["dtype"]} if options.get("dtype") else {})


def refuse_what_needs_two(context: click.Context, options: dict[str, Any]) -> None:
    """Of a picture of one set: refuse --intersect, and options that say how to extract what is at hand."""
    if options["after"] is not None:
        return
    if options["intersect"]:
        raise InputError("--intersect is of two sets: name the other with --after")
    if options["embeddings"] is not None:
        refuse_beside_embeddings(context)


def drawn(context: click.Context, options: dict[str, Any], progress: Progress) -> list[Any]:
    """The set that is drawn; or two, what --embeddings or --model names and --after, extracted on the same data."""
    from geomclip.panels import sources

    before, after = options["embeddings"], options["after"]
    if after is None:
        how = extraction(context, options)
        return [sources.vectors(before, how, **of_file(options), progress=progress)]
    if options["encoder_name"] is not None:
        raise InputError("--encoder-name is of one set, and --after names another: leave it out")
    model = own_encoder(context, picked(options, MODEL, OWN))["model"]
    for flag, side in (("model", model), ("after", after)):
        if sources.kind(side) == "result":
            raise InputError(f"--{flag} {side} is a result, which has no vectors: name the model or the store")
    if before is not None and "model" in typed(context, MODEL):
        raise InputError("--embeddings says what is drawn before: leave out --model")
    before = model if before is None else sources.vectors(before, {}, **of_file(options), progress=progress)
    common = {"options": of_sides(context, options), **picked(options, SEED, CACHE)}
    return sources.loaded((before, after), sources.SIDES, progress=progress, **common)


def refuse_cite_in_json(options: dict[str, Any]) -> None:
    """BibTeX behind a result in JSON would be no JSON."""
    if options["cite"] and options["as_json"]:
        raise InputError("--cite prints BibTeX after the table, and --json prints no table: leave one out")


def of_page(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """What is wanted of a page; InputError if something is, and no page is written."""
    if pages(options["out"]):
        return {"thumbnails": not options["no_thumbnails"], "points": options["points"]}
    if idle := list(typed(context, PAGE)):
        raise InputError(f"{flags(idle)} is of a page: --out FILE.html writes one")
    return {}


def logit_scale(options: dict[str, Any]) -> float | None:
    """One logit scale from two ways to say it; None if neither is used, or the command has neither."""
    scale, temperature = options.get("logit_scale"), options.get("temperature")
    if scale is not None and temperature is not None:
        raise InputError("--logit-scale S is the same as --temperature 1/S: give one of them")
    return scale if temperature is None else 1 / float(temperature)


def of_blocks(context: click.Context, how: dict[str, Any]) -> dict[str, Any]:
    """How blocks of vectors at hand are measured: without intervals over images, unless those are asked for by name."""
    if context.params["embeddings"] is None:
        raise InputError("--sample-blocks is of vectors: geomclip extract makes a store, which --embeddings names")
    return how if "bootstrap" in typed(context, [BOOTSTRAP]) else how | {"bootstrap": 0}


def term_weights(words: Sequence[str]) -> dict[str, float] | None:
    """The weights of mixed terms from TERM=X words; None if there are none."""
    if not words:
        return None
    weights = {}
    for word in words:
        term, _, value = word.partition("=")
        try:
            weights[term.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise InputError(f"--weight {word!r}: write TERM=X, for example m2_mix=0.02") from None
    return weights
