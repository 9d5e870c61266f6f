"""Everything that can be named has a source, and every source is BibTeX that can be read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
import torch
from helpers import small_set

import geomclip as gc
from geomclip.metrics import METRICS
from geomclip.pairs.datasets import DATASETS
from geomclip.panels.measurement import measure
from geomclip.panels.papers import citations
from geomclip.panels.papers.citations import cite, entries, of_name
from geomclip.projections import PROJECTIONS
from geomclip.projections.maps import Map
from geomclip.training.methods import METHODS

FUNCTIONS = [
    name for space in (gc.metrics, gc.losses) for name in space.__all__ if inspect.isfunction(getattr(space, name))
]
FIELD = re.compile(r"  (\w+) = \{(.*)\},?")
COMMANDS = re.compile(r"\\(?:[\"'`^~v]|[lL]\b|v\b)")
"""What an entry may write of LaTeX: accents, and the barred l."""


def fields(entry: str) -> dict[str, str]:
    """The fields of an entry; AssertionError if it is not as BibTeX reads it."""
    first, *lines, last = entry.splitlines()
    assert re.fullmatch(r"@(article|book|inproceedings|misc|software)\{[a-z0-9]+,", first), first
    assert last == "}"
    found = {}
    for place, line in enumerate(lines):
        field = FIELD.fullmatch(line)
        assert field, line
        assert line.endswith(",") == (place < len(lines) - 1), line
        assert balanced(field[2]), line
        assert not set(COMMANDS.sub("", field[2])) & set('\\%&#$_@"'), line
        found[field[1]] = field[2]
    return found


def balanced(text: str) -> bool:
    depth = 0
    for sign in text:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth < 0:
            return False
    return depth == 0


def cited(text: str) -> Iterator[str]:
    return iter(re.findall(r"^@\w+\{(\w+),$", text, re.M))


@pytest.mark.parametrize("key", entries())
def test_an_entry_is_bibtex_with_authors_title_and_year(key: str) -> None:
    entry = entries()[key]
    has = fields(entry)
    assert {"author", "title", "year"} <= set(has)
    assert re.fullmatch(r"(19|20)\d\d", has["year"])
    kind = entry[1:].partition("{")[0]
    assert {"article": "journal", "inproceedings": "booktitle"}.get(kind, "title") in has
    assert all(re.fullmatch(r"\{.+\}|[^,]+, [^,]+", author) for author in has["author"].split(" and "))
    if "eprint" in has:
        assert re.fullmatch(r"0[7-9]\d\d\.\d{4}|1[0-4]\d\d\.\d{4}|(1[5-9]|2\d)\d\d\.\d{5}", has["eprint"])
        assert has["archiveprefix"] == "arXiv"
        assert int(has["year"]) - 2000 >= int(has["eprint"][:2])  # published when it was written, or later


def test_the_check_of_entries_sees_what_is_wrong() -> None:
    good = "@misc{a,\n  author = {B, C},\n  title = {D {E}},\n  year = {2020}\n}"
    assert fields(good)["title"] == "D {E}"
    for broken in (
        good.replace("{E}", "{E"),
        good.replace("C},", "C}"),
        good.replace("D ", "D & "),
        good.replace("@misc{a", "misc{a"),
        good.replace("2020}", "2020},"),
    ):
        with pytest.raises(AssertionError):
            fields(broken)


def test_every_entry_is_of_something_and_every_source_has_one() -> None:
    named = {key for keys in citations.SOURCES.values() for key in keys}
    assert named - set(entries()) == set()
    assert set(entries()) - named == {citations.OWN, "holm1979simple", "benjamini1995controlling"}


@pytest.mark.parametrize(
    "name", [*METRICS, *METHODS, *PROJECTIONS, *FUNCTIONS, *(name for name in DATASETS if ":" not in name)]
)
def test_every_number_method_map_loss_and_data_set_has_a_source_or_needs_none(name: str) -> None:
    assert set(of_name(name)) <= set(entries())


def test_what_needs_no_source_has_none() -> None:
    assert set(citations.NONE_NEEDED).isdisjoint(citations.SOURCES)
    assert all(of_name(name) == (citations.OWN,) for name in citations.NONE_NEEDED)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_cites_the_paper_that_its_row_names(method: object) -> None:
    author, year = re.search(r"(\w+) et al\. (\d{4})", method.source).groups()  # type: ignore[attr-defined, union-attr]
    assert f"{author.lower()}{year}" in of_name(method.name)[0]  # type: ignore[attr-defined]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no source of 'modalty_gap'; nearest: modality_gap"):
        cite("modalty_gap")
    with pytest.raises(ValueError, match="cite takes names, panels"):
        cite(3)


def test_a_panel_cites_each_source_once_and_only_those_of_numbers_that_it_has() -> None:
    panel = measure(small_set(), metrics=["modality_gap", "alignment", "mean_cosine_image"], bootstrap=0)
    assert list(cited(cite(panel))) == ["wang2020understanding", "liang2022mind", "geomclip"]
    known = panel.replace(made_from={"dataset": "coco", "pretrained": "openai"})
    assert {"lin2014microsoft", "radford2021learning"} <= set(cited(cite(known)))
    assert "lin2014microsoft" not in cite(panel)


def test_a_panel_of_others_with_a_key_that_is_not_known_is_cited_without_it() -> None:
    assert list(cited(cite(gc.Panel({"alignment": 1.0, "theirs": 2.0})))) == ["wang2020understanding", "geomclip"]


def test_a_comparison_cites_the_corrections_of_its_verdicts() -> None:
    panel = measure(small_set(n=30), metrics="alignment", bootstrap=10)
    assert {"holm1979simple", "benjamini1995controlling"} <= set(cited(cite(gc.compare(panel, panel))))
    bare = gc.compare(panel, panel, bootstrap=0)
    assert list(cited(cite(bare))) == ["wang2020understanding", "geomclip"]


def test_a_map_cites_its_method_and_what_says_how_far_it_can_be_trusted() -> None:
    drawn = Map(torch.eye(2).numpy(), None, None, "plane", "umap", keeps={"trustworthiness": 0.9, "gap": None}, k=1)
    assert list(cited(cite(drawn))) == ["mcinnes2018umap", "venna2001neighborhood", "geomclip"]


def test_several_things_are_cited_together() -> None:
    assert list(cited(cite("dosnes", ["g2l", "geodesic"]))) == ["lu2019doubly", "li2023g2l", "grabisch1999axiomatic"]


def test_the_entry_of_geomclip_has_its_version_and_no_address() -> None:
    assert f"version = {{{gc.__version__}}}" in cite()
    assert "http" not in cite()


@pytest.mark.parametrize(("name", "method"), [("HeatGeodesic", "heat-geodesic"), ("SphericalMDS", "angles")])
def test_a_projection_is_cited_by_its_class_too(name: str, method: str) -> None:
    assert gc.cite(name) == gc.cite(method)
