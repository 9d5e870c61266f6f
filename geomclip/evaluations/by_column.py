"""Pairs as class data: the values of a column are the classes."""

from __future__ import annotations

from dataclasses import replace

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest, option
from geomclip.pairs import Pairs
from geomclip.pairs.classnames import DEFAULT_TEMPLATE


def of_column(pairs: Pairs, column: str, template: str = DEFAULT_TEMPLATE) -> Pairs:
    """The pairs with the values of a column for classes, in the order of their names; images without one are left out.

    Raises
    ------
    InputError
        If the data have classes already or no such column (the nearest are named), or fewer than two values.
    """
    if pairs.classes is not None:
        raise InputError(f"{option('label_column', column)}: {pairs.title} has classes already: leave it out")
    known = list(dict.fromkeys(name for pair in pairs.pairs for name, _ in pair.columns))
    if any(pair.label for pair in pairs.pairs):
        known.insert(0, "label")
    if column not in known:
        have = f"; its columns: {', '.join(known[:10])}" if known else ", which has none"
        raise InputError(
            f"{option('label_column', column)}: no such column in {pairs.title}{nearest(column, known)}{have}"
        )
    labels = [pair.label if column == "label" else dict(pair.columns).get(column, "") for pair in pairs.pairs]
    classes = tuple(sorted(set(filter(None, labels))))
    if len(classes) < 2:
        raise InputError(f"{option('label_column', column)}: one class only in {pairs.title}: two are needed")
    kept = tuple(
        replace(pair, label=label, captions=(), caption_ids=())
        for pair, label in zip(pairs.pairs, labels, strict=True)
        if label
    )
    prompts = tuple((template.replace("{c}", name),) for name in classes)
    return replace(pairs, pairs=kept, classes=classes, class_prompts=prompts)
