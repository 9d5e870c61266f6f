"""LaTeX: text escaped, numbers as mathematics, rows as a table that booktabs sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from geomclip.machine.words import one_line

APART = "\0"
"""Stands between two signs that LaTeX would join."""

SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "—": "---",
    "–": "--",
    "…": r"\dots{}",
    APART: "{}",
}
"""What LaTeX takes as a command, or sets as something else in an old font encoding."""

MISSING = "---"


def escaped(text: str) -> str:
    """A text on one line as LaTeX sets it, sign for sign.

    Examples
    --------
    >>> print(escaped("a_b & 50% of {x}~^\\\\ #1 $"))
    a\\_b \\& 50\\% of \\{x\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{} \\#1 \\$
    >>> print(escaped("ViT--B, image → text"))
    ViT-{}-B, image $\\rightarrow$ text
    """
    line = one_line("".join(sign if sign.isprintable() else " " for sign in text))
    # two hyphens would be set as a dash
    return "".join(SIGNS.get(sign, sign) for sign in re.sub("-(?=-)", f"-{APART}", line))


def math(number: str, *, bold: bool = False) -> str:
    """A number, as tables write it, inside mathematics: its minus is one, its thousands do not stand apart.

    Examples
    --------
    >>> print(math("-0.948"), math("12,346"), math("2.0e-05"), math("10.4", bold=True))
    -0.948 12{,}346 2.0\\times10^{-5} \\mathbf{10.4}
    """
    mantissa, _, power = number.replace(",", "{,}").partition("e")
    text = f"{mantissa}\\times10^{{{int(power)}}}" if power else mantissa
    return f"\\mathbf{{{text}}}" if bold else text


def tabular(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    notes: Iterable[str] = (),
    caption: str = "",
    label: str = "",
) -> str:
    """A table of cells that are LaTeX already; with a caption or a label it is one that floats.

    Parameters
    ----------
    heads : sequence of str
        The first column stands on the left, the others on the right.
    rows : iterable of sequences of str
    notes : iterable of str
        Comments above the table.
    caption, label : str
        The caption is text and is escaped; the label is taken as it is.

    Raises
    ------
    ValueError
        If the label has signs that a label cannot have.
    """
    if re.search(r"[^\w:.+/ -]", label):
        raise ValueError(f"label {label!r} may have letters, digits and : . + / - _")
    lines = [f"% {one_line(note)}" for note in ("\\usepackage{booktabs}", *notes)]
    floats = bool(caption or label)
    if floats:
        lines += [r"\begin{table}", r"\centering"]
        lines += [f"\\caption{{{escaped(caption)}}}"] * bool(caption) + [f"\\label{{{label}}}"] * bool(label)
    lines += [f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", _line(heads), r"\midrule"]
    lines += [_line(row) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, r"\end{table}"] if floats else lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    """One row; a bracket or star at its beginning would belong to the end of the row before."""
    text = " & ".join(cells)
    return f"{'{}' if text[:1] in ('[', '*') else ''}{text} \\\\"
