"""Front matter: what the hub reads of a card, as YAML; only what is known stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from geomclip.encoders import base_repository
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.pairs.datasets import DATASETS
from geomclip.panels.chosen import label
from geomclip.panels.record import Panel
from geomclip.reports.model_card.public import public
from geomclip.reports.model_card.run import Run

TAGS = ("clip", "geomclip", "image-text", "contrastive-learning")
TASK = "zero-shot-image-classification"
RELATIONS = {"wise-ft": "merge", "soup": "merge"}
"""How the hub calls what a method makes of its base; of others it is a finetune."""
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
LICENCE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
"""How the hub calls licences; huggingface_hub has no list of them."""
LICENCES = {"openai/clip-": "mit", "laion/CLIP-": "mit"}
"""Licence under which a base was published, by how the names of its repositories begin."""
RECALLS = ("text_retrieval_recall@1", "image_retrieval_recall@1", "text_retrieval_recall@5", "image_retrieval_recall@5")
REPORTED = (*RECALLS, "zeroshot_acc1", "zeroshot_acc5", "modality_gap", "text_retrieval_ece", "image_retrieval_ece")
"""Numbers that the hub is told, those of them that there are."""


def front_matter(run: Run, name: str, licence: str | None) -> str:
    """The YAML between the two lines of dashes, made and checked by huggingface_hub's own `ModelCardData`."""
    from huggingface_hub import ModelCardData

    bases = bases_of(run)
    data = str(run.part("call").get("data") or "")
    known: dict[str, Any] = {
        "base_model": bases[0] if len(bases) == 1 else bases or None,
        "base_model_relation": RELATIONS.get(run.method.name, "finetune") if bases else None,
        "library_name": "open_clip" if run.encoder is None or run.encoder.shift is None else None,
        "pipeline_tag": TASK,
        "tags": [*TAGS, run.method.name],
        "datasets": [data] if is_of_hub(data) else None,
        "license": licence or licence_of(bases),
        "model_name": name,
        "eval_results": list(_results(run)) or None,
    }
    card = ModelCardData(**{key: value for key, value in known.items() if value is not None})
    if not card.eval_results:
        del card.model_name  # the hub takes it with results alone
    return str(card.to_yaml())


def bases_of(run: Run) -> list[str]:
    """The hub's names of what was fine-tuned or mixed, those that it has; each once."""
    base = run.part("base")
    names = [str(each.get("model", "")) for each in run.config.get("between") or [] if isinstance(each, Mapping)]
    found = [base_repository(base), *(base_repository({"model": name}) for name in names)]
    return list(dict.fromkeys(each for each in found if each))


def is_published(data: str) -> bool:
    """Whether data have a name of their own, and are no file of somebody's."""
    return data in DATASETS and not data.endswith(":")


def is_of_hub(data: str) -> bool:
    """Whether a name of data is one of a repository of the hub, which links to it.

    Examples
    --------
    >>> is_of_hub("nlphuji/flickr30k"), is_of_hub("flickr30k"), is_of_hub("csv:a/b.csv")
    (True, False, False)
    """
    return bool(REPOSITORY.fullmatch(data)) and public(data) == data


def check_licence(licence: str) -> None:
    """Refuse what cannot be the id of a licence; the hub refuses a card with one that it does not know.

    Raises
    ------
    InputError
        With ids that are usual.
    """
    if not LICENCE.fullmatch(licence):
        raise InputError(
            f"{option('license', repr(licence))} is no id of a licence as the hub has them, of small letters, digits, "
            "points and hyphens: mit, apache-2.0, cc-by-4.0, ..., other or unknown"
        )


def licence_of(bases: list[str]) -> str | None:
    """The licence of the base, if it is one whose licence is known."""
    found = {licence for base in bases for start, licence in LICENCES.items() if base.startswith(start)}
    return found.pop() if len(bases) == 1 and len(found) == 1 else None


def _results(run: Run) -> Iterator[Any]:
    """What the hub shows as results: each number after, with the one before in its name."""
    from huggingface_hub import EvalResult

    if run.after is None or not run.is_finished:
        return
    data = str(run.part("call").get("data") or "")
    of_data = {
        "task_type": TASK if run.after.task == "classification" else "image-text-retrieval",
        "dataset_type": data if is_published(data) or is_of_hub(data) else "custom",
        "dataset_name": public(str(run.after.made_from.get("dataset") or data or "unnamed data")),
        "dataset_split": str(run.after.made_from.get("split") or "") or None,
    }
    for key in REPORTED:
        value = run.after.values.get(key)
        if value is not None:
            yield EvalResult(
                **of_data,  # type: ignore[arg-type]
                metric_type=key,
                metric_value=round(float(value), 6),
                metric_name=f"{label(key)}{_before(run.before, key)}",
            )


def _before(panel: Panel | None, key: str) -> str:
    value = None if panel is None else panel.values.get(key)
    return "" if value is None else f" (before: {value:.4g})"
