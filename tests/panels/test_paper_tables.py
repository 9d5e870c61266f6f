"""Tables for papers: digits that intervals support, bold beyond chance alone, LaTeX that can be set."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
import torch
from helpers import small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.panels.lines import told_apart
from geomclip.panels.measurement import measure
from geomclip.panels.papers import latex
from geomclip.panels.papers.table import Cell, Table, titled
from geomclip.panels.record import Panel

NASTY = "a_b & 50% of $x$ #1 {c} ~d^2 \\e <f> |g| --- h\ni [j]"
KNOWN = {"textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedbl"}
KNOWN |= {"rightarrow", "uparrow", "downarrow", "times", "cdot", "dots", "pm", "mathbf"}
KNOWN |= {"begin", "end", "toprule", "midrule", "bottomrule", "centering", "caption", "label"}
TOKEN = re.compile(r"\\([A-Za-z]+)|\\(.)|(.)", re.S)


def problems(tex: str) -> list[str]:
    """What keeps a text of our tables from being set: braces, mathematics, environments, signs, cells a row."""
    found: list[str] = []
    body = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    depth, math, words = 0, False, []
    for command, escaped, sign in TOKEN.findall(re.sub(r"\\label\{[\w:.+/ -]*\}", "", body)):
        if command:
            words.append(command)
        elif escaped:
            if escaped not in "\\{}&%$#_ ":
                found.append(f"\\{escaped}")
        elif sign == "$":
            math = not math
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            if depth < 0:
                found.append("a brace too many is closed")
        elif (sign in "_^" and not math) or sign in '#~%<>|"' or (not sign.isprintable() and sign != "\n"):
            found.append(f"bare {sign!r}")
    found += ["braces"] * (depth != 0) + ["mathematics"] * math + [word for word in words if word not in KNOWN]
    opened: list[str] = []
    for which, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if which == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            found.append(f"end of {name}")
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", body)
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    if opened or columns is None or not rows:
        return [*found, "environments"]
    for row in rows:
        if len(re.findall(r"(?<!\\)&", row)) != len(columns[1]) - 1 or row.startswith(("[", "*")):
            found.append(f"cells of {row}")
    return found


GOOD = "\\begin{tabular}{lr}\n\\toprule\n & a \\\\\nb & $1 \\pm 2$ \\\\\n\\end{tabular}\n"


def test_the_check_of_latex_sees_what_is_wrong() -> None:
    assert problems(GOOD) == []
    for broken in (
        GOOD.replace(" & a", " & a_b"),
        GOOD.replace(" & a", " & a & b"),
        GOOD.replace("$1", "1"),
        GOOD.replace("\\end{tabular}", ""),
        GOOD.replace("\\pm", "\\mp"),
        GOOD.replace("b &", "[b] &"),
        GOOD.replace("lr}", "lr"),
        GOOD.replace("b &", "50% &"),
    ):
        assert problems(broken), broken


def cells(*values: float | None, best: int = -1) -> list[Cell]:
    return [Cell(value, None if value is None else (value - 0.02, value + 0.02), i == best)
            for i, value in enumerate(values)]  # fmt: skip


def test_names_with_every_sign_that_latex_takes_as_its_own_are_set() -> None:
    table = Table([NASTY, "[b]", "*"], {"[mine]": cells(0.1, 0.2, None), "alignment": cells(1.0, 2.0, 3.0, best=0)})
    tex = table.to_latex(caption=NASTY, label="tab:a_b")
    assert problems(tex) == []
    assert r"a\_b \& 50\% of \$x\$ \#1 \{c\} \textasciitilde{}d\textasciicircum{}2 \textbackslash{}e" in tex
    assert r"-{}-{}- h i [j]" in tex
    assert "\n{}[mine] & " in tex


def test_a_label_that_latex_could_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="label 'a}b' may have letters"):
        Table(["a"], {}).to_latex(label="a}b")


def test_a_number_is_mathematics_with_its_minus_power_and_thousands() -> None:
    table = Table(["a"], {"x": [Cell(-0.5)], "y": [Cell(2e-5)], "z": [Cell(12345.6)], "none": [Cell(None)]})
    shown = [line.split(" & ")[1] for line in table.to_latex().splitlines() if " & " in line][1:]
    assert shown == [r"$-0.5000$ \\", r"$2.0\times10^{-5}$ \\", r"$12{,}346$ \\", r"--- \\"]
    assert problems(table.to_latex()) == []


@pytest.mark.parametrize(
    ("key", "value", "ci", "expected"),
    [
        ("alignment", 1.26124, (1.2515, 1.2709), "1.261 ± 0.010"),
        ("alignment", 1.26124, (1.2112, 1.3112), "1.26 ± 0.05"),
        ("text_retrieval_recall@1", 0.1038, (0.0712, 0.1364), "10.4 ± 3.3"),  # percent
        ("text_retrieval_recall@1", 0.022, (0.005, 0.062), "2.2 [0.5, 6.2]"),  # not in the middle
        ("text_retrieval_median_rank", 54.5, (36.5, 72.5), "54 ± 18"),
        ("alignment", 1.0, (0.99996, 1.00004), "1.00000 ± 0.00004"),
        ("alignment", 1.0, (1.0, 1.0), "1.0000"),
        ("alignment", 1.0, None, "1.0000"),
        ("alignment", None, None, "—"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_supports(
    key: str, value: float | None, ci: tuple[float, float] | None, expected: str
) -> None:
    table = Table(["a"], {key: [Cell(value, ci)]})
    assert table.to_markdown().splitlines()[2] == f"| {titled(key)} | {expected} |"


def test_an_interval_is_half_its_width_or_both_ends_or_left_out() -> None:
    one = {"alignment": [Cell(1.26124, (1.2515, 1.2709))]}
    texts = [Table(["a"], one, interval).to_markdown().splitlines()[2] for interval in ("±", "range", None)]
    assert [text.split(" | ")[1].rstrip(" |") for text in texts] == ["1.261 ± 0.010", "1.261 [1.252, 1.271]", "1.2612"]
    with pytest.raises(ValueError, match="interval must be '±', 'range' or None, got 'ci'"):
        Table(["a"], one, "ci")


def test_a_row_has_a_cell_a_column() -> None:
    with pytest.raises(ValueError, match="alignment has 1 cells for 2 columns"):
        Table(["a", "b"], {"alignment": [Cell(1.0)]})


# ------------------------------------------------------------------------------------------------------------ best


def noisy(noise: float, *, seed: int = 1, n: int = 60, logit_scale: float | None = None) -> Panel:
    """A panel of one and the same pairs, the images moved by noise."""
    own = small_set(n=n, per_image=1)
    moved = own.image + noise * torch.randn(own.image.shape, generator=torch.Generator().manual_seed(seed))
    pairs = EmbeddingSet(moved, own.text, image_of_text=own.image_of_text)
    return measure(pairs, bootstrap=50, logit_scale=logit_scale)


def test_the_best_of_a_row_is_bold_where_chance_does_not_explain_it() -> None:
    table = gc.table({"whole": noisy(0.0), "broken": noisy(1.0)}, keys=["alignment", "modality_gap"])
    assert [cell.best for cell in table.rows["alignment"]] == [True, False]
    assert [cell.best for cell in table.rows["modality_gap"]] == [False, False]  # no direction is better
    assert "**" in table.to_markdown()
    assert r"$\mathbf{" in table.to_latex()
    assert "<strong>" in table._repr_html_()


def test_the_order_of_the_panels_does_not_change_which_is_bold() -> None:
    there, back = (gc.table(sides) for sides in ([noisy(0.0), noisy(1.0)], [noisy(1.0), noisy(0.0)]))
    assert any(cell.best for cells in there.rows.values() for cell in cells)
    for key, row in there.rows.items():
        assert [cell.best for cell in row] == [cell.best for cell in back.rows[key]][::-1], key


def test_what_differs_by_chance_alone_is_not_bold() -> None:
    table = gc.table([noisy(0.3, seed=1), noisy(0.3, seed=2)])
    assert len({cell.value for cell in table.rows["alignment"]}) == 2
    assert not any(cell.best for cells in table.rows.values() for cell in cells)


def test_of_three_the_best_must_beat_both() -> None:
    table = gc.table([noisy(0.0), noisy(0.0), noisy(1.0)], keys="alignment")
    assert not any(cell.best for cell in table.rows["alignment"])


def test_a_calibration_error_is_not_bold_where_recall_is_lower() -> None:
    kept, unsure = noisy(0.0), noisy(1.0, logit_scale=1e-3)  # says nothing, and is right in nothing
    table = gc.table([kept, unsure], keys=["text_retrieval_recall@1", "text_retrieval_ece"])
    recall, error = ([cell.value or 0.0 for cell in table.rows[key]] for key in table.rows)
    assert recall[0] > recall[1]
    assert error[0] > error[1]
    assert [cell.best for cell in table.rows["text_retrieval_ece"]] == [False, False]
    honest = gc.table([noisy(0.0, logit_scale=1e-3), kept], keys="text_retrieval_ece")
    assert any(cell.best for cell in honest.rows["text_retrieval_ece"])


def test_panels_of_other_images_are_shown_and_nothing_is_bold() -> None:
    table = gc.table([noisy(0.0), noisy(1.0, n=40)])
    assert not any(cell.best for cells in table.rows.values() for cell in cells)
    assert any(re.search("columns (1 and 2|2 and 1) cannot be compared: the two sets", note) for note in table.notes)


def test_bold_can_be_left_out() -> None:
    table = gc.table([noisy(0.0), noisy(1.0)], bold=False)
    assert not any(cell.best for cells in table.rows.values() for cell in cells)


# ----------------------------------------------------------------------------------------------------- names, keys


def test_columns_are_called_by_name_else_by_model_and_are_told_apart() -> None:
    plain = Panel({"alignment": 1.0}, made_from={"model": "ViT-B-32", "pretrained": "openai"})
    named = plain.replace(name="ours")
    assert gc.table([plain, named, plain]).names == ["ViT-B-32, openai", "ours", "ViT-B-32, openai (2)"]
    assert gc.table([plain, named], ["a", "b"]).names == ["a", "b"]
    assert gc.table({"x": plain, "y": named}).names == ["x", "y"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "names: 2 are wanted, one a side, got 1: 'a'"),
        (["a", "a"], "names 'a' is given twice: call each side otherwise"),
        (["a", " "], "names: one is empty: 'a', ''"),
        ("ab", "names must be a list, got the text 'ab'"),
    ],
)
def test_names_that_do_not_tell_apart_are_refused(names: list[str], message: str) -> None:
    panel = Panel({"alignment": 1.0})
    with pytest.raises(ValueError, match=re.escape(message)):
        gc.table([panel, panel], names)


def test_names_told_apart_differ_whatever_the_others_are() -> None:
    found = told_apart(["a", "a (2)", "a", "b", "a (3)"])
    assert len(set(found)) == 5
    assert found[1] == "a (2)"


def test_keys_are_those_named_in_their_order_all_or_ten() -> None:
    panel = noisy(0.0)
    assert list(gc.table(panel, keys="modality_gap,alignment").rows) == ["modality_gap", "alignment"]
    assert len(gc.table(panel).rows) == 10
    assert list(gc.table(panel, keys="all").rows) == list(panel)
    with pytest.raises(ValueError, match="alignmnt is not among the numbers of these panels; nearest: alignment"):
        gc.table(panel, keys=["alignmnt"])


def test_a_number_that_one_panel_has_not_is_a_dash() -> None:
    table = gc.table([Panel({"alignment": 1.0}), Panel({"modality_gap": 0.5})], ["a", "b"])
    assert [line.split(" & ", 1)[1] for line in table.to_latex().splitlines() if " & " in line][1:] == [
        r"--- & $0.5000$ \\",
        r"$1.0000$ & --- \\",
    ]


# ----------------------------------------------------------------------------------------------------------- files


def test_csv_and_frame_have_every_digit() -> None:
    table = gc.table({"a": noisy(0.0), "b": noisy(1.0)})
    rows = {(row["metric"], row["column"]): row for row in csv.DictReader(io.StringIO(table.to_csv()))}
    frame = table.to_pandas()
    for key, both in table.rows.items():
        for name, cell in zip(table.names, both, strict=True):
            row = rows[key, name]
            assert float(row["value"]) == cell.value == frame.loc[key, (name, "value")]
            ends = None if not row["low"] else (float(row["low"]), float(row["high"]))
            assert ends == cell.ci
            assert row["best"] == str(cell.best).lower()


@pytest.mark.parametrize(("suffix", "begins"), [(".tex", "% \\usep"), (".md", "|  | a |"), (".csv", "metric,")])
def test_a_table_is_saved_as_its_name_says(tmp_path: Path, suffix: str, begins: str) -> None:
    path = gc.table(Panel({"alignment": 1.0}), ["a"]).save(tmp_path / f"t{suffix}")
    assert path.read_text("utf-8").startswith(begins)
    with pytest.raises(InputError, match=r"must end in \.tex, \.md or \.csv"):
        gc.table(Panel({"alignment": 1.0})).save(tmp_path / "t.txt")


def test_results_are_read_from_their_files(tmp_path: Path) -> None:
    files = [noisy(noise).save(tmp_path / f"{noise}.json") for noise in (0.0, 1.0)]
    assert gc.table(files).rows["alignment"][0].best


def test_panels_and_comparisons_are_latex_too(tmp_path: Path) -> None:
    whole, broken = noisy(0.0).replace(name="50%_a"), noisy(1.0).replace(name="b")
    comparison = gc.compare(broken, whole)
    for tex in (whole.to_latex(caption=NASTY), whole.to_latex("all", interval="range"), comparison.to_latex("all")):
        assert problems(tex) == []
    assert r"50\%\_a" in whole.to_latex()
    (row,) = [line for line in comparison.to_latex("alignment").splitlines() if line.startswith("Alignment")]
    change = r"\$\\mathbf\{[\d.]+\}\$ & \$-[\d.]+ \\pm [\d.]+\$ \\\\"
    assert re.fullmatch(rf"Alignment \$\\downarrow\$ & \$[\d.]+\$ & {change}", row)
    assert whole.save(tmp_path / "r.tex").read_text("utf-8") == whole.to_latex()
    assert comparison.save(tmp_path / "c.tex").read_text("utf-8") == comparison.to_latex()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tex", "r.tex"]


def test_escaping_leaves_plain_text_as_it_is() -> None:
    assert latex.escaped("ViT-B/32, 3.5") == "ViT-B/32, 3.5"
