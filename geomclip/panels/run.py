"""Run: one set on its way to a panel; what the stages put in, and the panel that comes out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.version import __version__
from geomclip.metrics import METRICS
from geomclip.metrics import contributions as parts
from geomclip.metrics.calibration_scores import BINS
from geomclip.metrics.sweep import Fold, Pairing, load_kernels, runs_compiled, sweep
from geomclip.panels import intervals
from geomclip.panels.record import Panel

NEIGHBORS = 10
"""k of the k-occurrence counts."""

TRUNCATED_DOUBT = 0.01
"""More texts cut than this is a warning."""

NO_TEXT = "needs image-text pairs; this set has classes in place of texts"

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, of)."""


class Run:
    """One set on its way to a panel.

    `columns` holds what each image adds (`geomclip.metrics.contributions`), `resampled` the statistics that
    are not sums, `drawn` their resampled values, `of_halves` the values within halves of the images.
    """

    def __init__(
        self,
        embeddings: EmbeddingSet,
        wanted: set[str],
        *,
        bootstrap: int,
        seed: int,
        device: str = "cpu",
        null_cache: MutableMapping[str, dict[str, float]] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.set = embeddings
        self.wanted = wanted
        self.bootstrap, self.seed = bootstrap, seed
        self.device = device
        self.null_cache = {} if null_cache is None else null_cache
        self.progress = progress
        self.image = embeddings.image
        self.n = len(self.image)
        self.pairing: Pairing | None = None
        if embeddings.text is not None:
            self.pairing = Pairing.of(self.image, embeddings.text, embeddings.image_of_text)
        self.values: dict[str, float | None] = {}
        self.notes: dict[str, str] = {}
        self.null: dict[str, float] = {}
        self.ci: dict[str, tuple[float, float]] = {}
        self.columns: parts.Columns = {}
        self.resampled: dict[str, Callable[[Tensor], Tensor]] = {}
        self.drawn: dict[str, Tensor] = {}
        self.of_halves: dict[str, Tensor] = {}
        self.items: dict[str, dict[str, Any]] = {"image": {}, "text": {}}
        self.reliability: dict[str, list[dict[str, float | None]]] = {}
        self.curves: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.slower: str | None = None
        self.halves = intervals.Halves.of(self.n, seed=seed) if bootstrap else None

    def wants(self, *keys: str) -> bool:
        """Whether any of these keys is asked for."""
        return not self.wanted.isdisjoint(keys)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Seconds of a stage, added up under its name; a stage inside another counts once, as itself."""
        start, inside = time.perf_counter(), sum(self.seconds.values())
        yield
        spent = time.perf_counter() - start - (sum(self.seconds.values()) - inside)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def put(self, key: str, value: Any, *args: Any) -> None:
        """Keep a value, or what a function of `args` returns, if it is asked for; None and why if undefined."""
        if key not in self.wanted:
            return
        try:
            self.values[key] = float(value(*args) if callable(value) else value)
        except ValueError as undefined:
            self.undefined(key, str(undefined))

    def undefined(self, key: str, reason: str) -> None:
        """Say why a key has no value."""
        if key in self.wanted:
            self.values[key] = None
            self.notes[key] = reason

    def sweep(self, stage: str, pairing: Pairing, folds: Sequence[Fold[Any, Any]]) -> list[Any]:
        """`metrics.sweep.sweep`, which reports under the name of its stage; loading compiled loops is timed apart."""
        if runs_compiled(pairing, self.device):
            with self.timed("kernels"):
                missing = load_kernels()
            if missing:
                self.slower = f"large sweeps ran by torch, slower and with the same numbers: {missing}"
        progress = self.progress
        told = None if progress is None else lambda done, of: progress(stage, done, of)
        return sweep(pairing, folds, device=self.device, progress=told)

    def pairs(self) -> Pairing:
        """The pairing of a set that has one."""
        assert self.pairing is not None
        return self.pairing

    def finish(self) -> None:
        """The value of every formula, and the reason of every key that has none."""
        for key in parts.FORMULAS:
            if key in self.wanted and key not in self.values:
                value = parts.value_of(key, self.columns)
                if value is not None:
                    self.put(key, value)
        for key in sorted(self.wanted - set(self.values) - set(self.notes)):
            group = METRICS[key].group
            if group == "zeroshot":
                if self.pairing is not None:
                    continue  # no reader of a retrieval panel misses the numbers of another task
                self.undefined(key, "undefined for this set")
            elif self.pairing is None:
                self.notes[key] = NO_TEXT
            else:
                self.undefined(key, "no image or text of this set has what it compares")
        order = {key: place for place, key in enumerate(METRICS)}
        self.values = dict(sorted(self.values.items(), key=lambda entry: order.get(entry[0], len(order))))

    def warnings(self) -> list[str]:
        """What the reader must not miss."""
        made, told = self.set.made_from, []
        share = self.values.get("truncated_text_share") or 0.0
        if share > TRUNCATED_DOUBT:
            told.append(f"{share:.1%} of the texts were cut at the model's context length")
        if self.set.logit_scale_source == "assumed":
            told.append(
                f"no logit scale came with these vectors: {self.set.logit_scale:g} is assumed (--logit-scale sets it)"
            )
        if self.pairing is not None:
            without = int((self.pairing.texts_of_image == 0).sum())
            if without:
                told.append(f"{without} of {self.n} images have no text: they are candidates, not queries")
        if self.slower is not None:
            told.append(self.slower)
        return told + [str(note) for note in made.get("notes") or []]

    def panel(self, params: dict[str, Any], warnings: list[str]) -> Panel:
        """Everything gathered, as the record."""
        pairing, embeddings = self.pairing, self.set
        classes = embeddings.class_text
        tables: dict[str, dict[str, Any]] = {"image": {"image_id": list(embeddings.image_id)}, "text": {}}
        if embeddings.image_path is not None:
            tables["image"]["image_path"] = list(embeddings.image_path)
        tables["image"] |= {name: column.tolist() for name, column in self.items["image"].items()}
        tables["image"] |= {f"sum.{name}": column.tolist() for name, column in self.columns.items()}
        if pairing is not None and embeddings.image_of_text is not None:
            own = embeddings.image_of_text.tolist()
            tables["text"] = {
                "caption_id": list(embeddings.caption_id),
                "image_id": [embeddings.image_id[i] for i in own],
                **{name: column.tolist() for name, column in self.items["text"].items()},
            }
        # the same seed draws the same images from as many: what a comparison in pairs needs where sums do not do
        tables |= {
            kind: {key: column.tolist() for key, column in drawn.items()}
            for kind, drawn in (("resample", self.drawn), ("half", self.of_halves))
            if drawn
        }
        return Panel(
            values=self.values,
            ci=self.ci,
            null=self.null,
            notes=self.notes,
            warnings=warnings + self.warnings(),
            reliability=self.reliability,
            curves=self.curves,
            items=tables,
            params=params | {"bins": BINS, "t": 2.0, "k": NEIGHBORS} | self.params,
            seconds={stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            made_from=dict(embeddings.made_from),
            env={
                "geomclip": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "threads": torch.get_num_threads(),
            },
            n_images=self.n,
            n_texts=pairing.m if pairing is not None else 0 if classes is None else len(classes),
            dim=self.image.shape[1],
            logit_scale=float(embeddings.logit_scale),
            logit_scale_source=embeddings.logit_scale_source,
            task="retrieval" if pairing is not None else "classification",
            seed=self.seed,
            features_sha256=features_sha256(embeddings),
        )


def duplicate_text_share(embeddings: EmbeddingSet) -> float:
    """Share of texts that also occur, to the letter, under another image; by rows where there are no captions."""
    assert embeddings.image_of_text is not None
    assert embeddings.text is not None
    if embeddings.caption is not None:
        place: dict[str, int] = {}
        texts = torch.tensor([place.setdefault(text, len(place)) for text in embeddings.caption])
    else:
        texts = exact.first_equal(embeddings.text)
    n = len(embeddings.image)
    images = torch.bincount((texts * n + embeddings.image_of_text).unique() // n, minlength=len(texts))
    return float((images[texts] > 1).double().mean())


def features_sha256(embeddings: EmbeddingSet) -> str:
    """sha256 over the unit rows in float32, images then texts, and the owners."""
    digest = hashlib.sha256()
    for rows in (embeddings.image, embeddings.text, embeddings.class_text):
        if rows is not None:
            digest.update(rows.float().contiguous().numpy().data)
    if embeddings.image_of_text is not None:
        digest.update(embeddings.image_of_text.contiguous().numpy().data)
    return digest.hexdigest()
