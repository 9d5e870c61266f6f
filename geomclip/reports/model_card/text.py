"""The text of a card: what changed, how the model is loaded, how it was made, and what is not known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from geomclip.encoders import how_to_load
from geomclip.encoders.export import file_on_the_hub
from geomclip.pairs.datasets import DATASETS
from geomclip.panels.comparison.blocks import verdict_markdown
from geomclip.panels.papers.citations import cite
from geomclip.panels.summary import CHANGES, change_cells, table
from geomclip.reports.model_card.front import bases_of, is_published
from geomclip.reports.model_card.public import code, one
from geomclip.reports.model_card.run import Run
from geomclip.training.result import about, compared
from geomclip.training.settings import Settings

WRITTEN = "<!-- written by geomclip card; take this line away and it is not written over -->"
"""The first line after the front matter, by which a card is known again."""
OF_SWEEPS = ("val_metric", "seed")
"""Settings that mean something where nothing is trained."""
TITLE = "Before and after"


def body(run: Run, name: str, *, licence: str | None, figures: Mapping[str, str], repository: str | None) -> str:
    """The card without its front matter.

    Parameters
    ----------
    run : Run
    name : str
        What the model is called.
    licence : str, optional
        As the front matter has it.
    figures : mapping of file to what it shows
    repository : str, optional
        On the hub, where the card goes with the weights.
    """
    parts = [
        [WRITTEN, "", f"# {one(name)}", "", *_opening(run)],
        _changes(run),
        [line for file, shows in figures.items() for line in ("", f"![{one(shows)}]({file})")],
        ["", "## How to load it", "", *_loading(run, repository)],
        ["", "## How it was made", "", *_making(run, repository)],
        ["", "## Data", "", *_data(run)],
        ["", "## What is not known", "", *(f"- {line}" for line in _unknown(run, licence))],
        ["", "## Sources", "", "```bibtex", *cite(*_sources(run)).splitlines(), "```"],
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _opening(run: Run) -> Iterator[str]:
    base = run.part("base")
    named = [each.get("model") for each in run.config.get("between") or []] or [base.get("model")]
    models = ", ".join(map(code, named))
    data = code(run.part("data").get("dataset") or run.part("call").get("data"))
    how = {
        "train": f"{models}, fine-tuned on {data} by {code(run.method.name)} ({run.method.title}; {run.method.source})",
        "after": f"Weights between {models}, chosen on {data} by {code(run.method.name)} ({run.method.source})",
        "without": f"{models}, its rows {run.method.title.removeprefix('rows ')} of {data} ({run.method.source})",
    }[run.method.stage]
    kept = " and ".join(f"{one(kind)} ({weight:g})" for kind, weight in _preserved(run).items())
    yield f"{how}, preserving {kept} of its base." if kept else f"{how}."
    if not run.is_finished:
        have = [word for word, there in (("weights", run.encoder), ("numbers before", run.before)) if there is not None]
        yield ""
        yield f"**This run is not finished.** It has {' and '.join(have) or 'neither weights nor numbers'} so far."


def _preserved(run: Run) -> Mapping[str, float]:
    """What of the base terms of the loss held, with their weights."""
    return run.settings.get("preserve") or {}


def _sources(run: Run) -> tuple[str, ...]:
    """The method, and the terms that preserve the base."""
    return run.method.name, *(f"{kind}_preservation" for kind in _preserved(run))


def _changes(run: Run) -> Iterator[str]:
    yield from ("", f"## {TITLE}", "")
    comparison = run.comparison
    if comparison is None:
        missing = "before" if run.before is None else "after"
        yield f"Not measured {missing}: the run is not finished."
        return
    yield from verdict_markdown(comparison.verdict)
    report = (run.part("data").get("splits") or {}).get("report", "")
    split = f", split {code(report)}" if report else ""
    digests = run.part("data").get("fingerprints") or {}
    held = "**the same that was chosen by**" if digests.get("report") == digests.get("val") else "not chosen by"
    images = f"{comparison.n_images:,} images" if comparison.n_images else "images not counted"
    yield f"On {code(comparison.after.get('dataset'))}{split}, {images}, {held} and not trained on in this run."
    yield from ("", *table(CHANGES, change_cells(comparison)))
    yield from ("", "better, worse: beyond chance, q < 0.05 corrected for all that are judged; intervals are of 95 %.")
    for name, other in run.also.items():
        yield from ("", f"On other data, {code(name)} ({other.n_images:,} images):", "")
        rows = [row for row in change_cells(other) if other.rows[row[0].strip("`")].primary]
        yield from table(CHANGES, rows)
    if comparison.notes:
        yield from ("", *(f"- {one(note)}" for note in comparison.notes))


def _loading(run: Run, repository: str | None) -> Iterator[str]:
    encoder = run.encoder
    if encoder is None:
        yield "There are no weights yet."
        return
    shifted = encoder.shift is not None
    if repository is None:
        yield from ("From the run folder:", "", "```bash", f"geomclip measure --model {run.weights.name}", "```", "")
        if shifted:
            yield "The shift of its rows is applied by geomclip alone."
            return
        where, _, call = how_to_load(encoder, Path(run.weights.name)).partition(": ")
        is_python = call.startswith("open_clip.")
        first = ["```python", "import open_clip", ""] if is_python else ["```bash"]
        yield from (f"{where[0].upper()}{where[1:]}:", "", *first, call, "```")
        return
    if shifted:
        yield "Its rows are shifted along the gap after encoding, which geomclip alone does:"
        file = file_on_the_hub(encoder)
        yield from ("", "```python", "import geomclip", "from huggingface_hub import hf_hub_download", "")
        yield f'model = hf_hub_download("{repository}", "{file}")'
        yield from ('embeddings = geomclip.embed(model, "emoji")', "```")
        return
    yield from ("```python", "import open_clip", "")
    yield f'model, _, preprocess = open_clip.create_model_and_transforms("hf-hub:{repository}")'
    yield f'tokenizer = open_clip.get_tokenizer("hf-hub:{repository}")'
    yield from ("```", "", "```bash", f"geomclip measure --model hf-hub:{repository}", "```")


def _making(run: Run, repository: str | None) -> Iterator[str]:
    between = run.config.get("between") or [run.part("base")]
    rows = [
        ("mixed with it" if place else "base", code(each.get("model")), _digest(each))
        for place, each in enumerate(between)
    ]
    if run.encoder is not None:
        file = run.weights.name if repository is None else file_on_the_hub(run.encoder)
        rows.append(("these weights", code(file), _digest({"weights_sha256": run.encoder.weights_sha256})))
    yield from table(("", "model", "sha256 of its weights"), rows)
    chosen = run.part("chosen")
    if chosen:
        yield ""
        yield from (f"- {one(line)}" for line in (about(chosen), *compared(chosen)))
    yield from ("", *table(("setting", "value"), ((code(key), code(value)) for key, value in _settings(run))))
    versions = ", ".join(f"{name} {one(version)}" for name, version in run.part("versions").items())
    yield from ("", f"Settings that are not named have the defaults of this version. Made with {versions}.")


def _digest(made: Mapping[str, Any]) -> str:
    return code(made.get("weights_sha256")) if made.get("weights_sha256") else "not known"


def _settings(run: Run) -> Iterator[tuple[str, Any]]:
    """The method, and the settings that are not as `Settings` has them; of sweeps those that mean something."""
    yield "method", run.method.name
    usual = Settings(method=run.method.name).to_dict()
    for each in fields(Settings):
        value = run.settings.get(each.name)
        if each.name == "method" or value is None:
            continue
        if run.method.stage != "train":
            if each.name in OF_SWEEPS:
                yield each.name, value
        elif each.name in (*OF_SWEEPS, "epochs", "lr", "batch_size") or value != _plain(usual[each.name]):
            yield each.name, value


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _data(run: Run) -> Iterator[str]:
    data, call = run.part("data"), run.part("call")
    splits, images, digests = (data.get(name) or {} for name in ("splits", "images", "fingerprints"))
    uses = {"train": "trained on", "val": "chosen by", "report": "reported on"}
    if run.method.stage == "after":
        del uses["train"]
    if run.method.stage == "without":
        uses["train"] = "direction of the gap"
    rows = [
        (use, code(splits.get(name) or "all"), f"{images.get(name, 0):,}", code(digests.get(name)))
        for name, use in uses.items()
        if name in images
    ]
    yield from (f"{code(data.get('dataset') or call.get('data'))}:", "")
    yield from table(("", "split", "images", "sha256 of images, ids and texts"), rows)
    name = str(call.get("data") or "")
    if is_published(name):
        yield from ("", f"Licence of the data: {one(DATASETS[name].licence)}.")


def _unknown(run: Run, licence: str | None) -> Iterator[str]:
    if licence is None:
        yield "The licence of these weights: nobody has named one. That of the base and of the data may bind them."
    else:
        yield f"Whether {one(licence)}, the licence that is named above, is what base and data allow."
    if not bases_of(run):
        yield "Where the base came from: it is not a model of the hub by its name."
    yield "What the base was trained on, and whether images that are reported on here were among that."
    if not is_published(str(run.part("call").get("data") or "")):
        yield "Where the data came from, and under which licence."
    yield "How it does on other data, languages and tasks than those above."
    yield "What it is fit for: bias, harm and safety were not measured."
