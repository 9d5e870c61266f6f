"""The table of published numbers: what the files that they come from hold, and the page that is written from it."""

from __future__ import annotations

import csv
import sys

import pytest
from helpers import ROOT

from geomclip.encoders import names
from geomclip.metrics import METRICS
from geomclip.pairs import DATASETS
from geomclip.reproduction.classes import NAMES, TEMPLATES
from geomclip.reproduction.record import Reproduction
from geomclip.reproduction.rows import ROWS, SOURCES, TOLERANCES, Row
from geomclip.reproduction.verdicts import Found, Outcome

sys.path.insert(0, str(ROOT / "docs"))

import reproduce

# lines of docs/openclip_retrieval_results.csv, without parameters, FLOPs and average, as far as MSCOCO
RETRIEVAL = """\
name,pretrained,F image 1,F image 5,F image 10,F text 1,F text 5,F text 10,C image 1,C image 5,C image 10,C text 1,\
C text 5,C text 10
ViT-B-32,openai,0.5878,0.8356,0.9002,0.7890,0.9490,0.9820,0.3044,0.5594,0.6687,0.5012,0.7500,0.8352
ViT-B-32,laion2b_s34b_b79k,0.6678,0.8838,0.9310,0.8410,0.9620,0.9830,0.3934,0.6543,0.7561,0.5632,0.7984,0.8712
ViT-L-14,openai,0.6496,0.8724,0.9204,0.8520,0.9740,0.9920,0.3651,0.6106,0.7113,0.5634,0.7938,0.8660
ViT-B-16-SigLIP,webli,0.7468,0.9230,0.9562,0.8910,0.9800,0.9930,0.4778,0.7244,0.8100,0.6574,0.8542,0.9126
"""
# ImageNet 1k, CIFAR-10 and CIFAR-100 of docs/openclip_results.csv and docs/openclip_classification_results.csv
CLASSIFICATION = """\
name,pretrained,imagenet1k,cifar10,cifar100
ViT-B-32,openai,0.6332,0.8983,0.6423
ViT-B-32,laion2b_s34b_b79k,0.6656,0.9358,0.7555
ViT-L-14,openai,0.7554,0.9559,0.7582
ViT-B-16-SigLIP,webli,0.7604,0.9234,0.7223
"""


def cells(text: str) -> dict[tuple[str, str], dict[str, float]]:
    lines = list(csv.DictReader(text.splitlines()))
    return {
        (line.pop("name"), line.pop("pretrained")): {key: float(value) for key, value in line.items()} for line in lines
    }


def of(row: Row) -> tuple[str, str]:
    """The name and tag of open_clip that a row is of."""
    choice = names.resolve(row.model)
    return choice.model, choice.tag


@pytest.mark.parametrize("row", [row for row in ROWS if row.source == "open_clip retrieval"], ids=lambda row: row.name)
def test_recalls_are_those_of_the_file(row: Row) -> None:
    line = cells(RETRIEVAL)[of(row)]
    short = {"flickr30k": "F", "coco-karpathy": "C"}[row.data]
    for number in row.numbers:
        side, k = number.key.split("_retrieval_recall@")
        assert number.published == line[f"{short} {side} {k}"], number.key


@pytest.mark.parametrize("row", [row for row in ROWS if row.classes is not None], ids=lambda row: row.name)
def test_accuracies_are_those_of_the_files(row: Row) -> None:
    assert [number.published for number in row.numbers] == [cells(CLASSIFICATION)[of(row)][row.data]]


def test_every_model_has_both_data_sets_of_pairs_and_three_of_classes() -> None:
    models = {of(row) for row in ROWS}
    assert models == cells(RETRIEVAL).keys() == cells(CLASSIFICATION).keys()
    assert len(ROWS) == 5 * len(models) + 2
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_a_source_and_names_what_there_is(row: Row) -> None:
    assert row.source in SOURCES
    assert row.weights
    assert row.images >= 1000
    if row.classes is None:
        assert row.split in DATASETS[row.data].splits
    else:
        assert row.classes.templates in TEMPLATES
        assert row.classes.names in {"", *NAMES}
    for number in row.numbers:
        assert number.key in METRICS
        assert number.tolerance == (0 if number.published is None else TOLERANCES[row.data][0])
        assert not (number.below_zero and number.published)


def test_the_table_of_all_rows_keeps_to_80_columns() -> None:
    """With the widest numbers that there can be."""
    outcomes = []
    for row in ROWS:
        values = {number.key: -1.23456 if "recall" not in number.key else 1.0 for number in row.numbers}
        ci = {key: (-2.23456, 2.34567) if value < 0 else (0.98765, 1.0) for key, value in values.items()}
        outcomes.append(Outcome(row, Found(values, ci, 10, limited=True)))
    assert max(map(len, str(Reproduction(tuple(outcomes))).splitlines())) <= 80


def test_the_page_is_what_the_script_makes() -> None:
    assert reproduce.PAGE.read_text(encoding="utf-8") == reproduce.page(), "`make readme` writes it anew"


def test_the_page_keeps_to_its_width_and_has_every_number() -> None:
    lines = reproduce.page().splitlines()
    assert max(len(line) for line in lines if not line.startswith(("|", "```"))) <= 120
    table = [line for line in lines if line.startswith("|")]
    assert [row.name for row in ROWS if not any(f"`{row.name}`" in line for line in table)] == []
    for row in ROWS:
        for number in row.numbers:
            if number.published is not None:
                shown = f"{number.published if number.key == 'modality_gap' else 100 * number.published:.2f}"
                assert any(f"`{row.name}`" in line and shown in line for line in table), number
