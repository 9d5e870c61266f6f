"""Subject: the space that is evaluated, an encoder with its data or vectors at hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.custom import any_encoder, taken
from geomclip.encoders.extraction.calls import embed
from geomclip.encoders.extraction.plan import BATCH_SIZE
from geomclip.encoders.protocol import AnyEncoder
from geomclip.evaluations.by_column import of_column
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.source import Unnamed
from geomclip.panels.options import Measuring
from geomclip.panels.sources import vectors
from geomclip.training.splits import Splits


@dataclass(frozen=True)
class Subject:
    """What is evaluated, and what every task is asked with.

    Parameters
    ----------
    model : str or encoder
        As `embed` takes it.
    data : str, Pairs or Splits
        As `embed` takes it, or the parts that a run made of its data; with `split`, `data_root`, `limit` and the
        columns of tables.
    embeddings : path or EmbeddingSet, optional
        Vectors in place of a model and data.
    label_column : str, optional
        Of pairs that have a column of classes (`group` of emoji): what makes them class data.
    bootstrap : int
        0 for no intervals.
    seed : int
        Of draws and fits.
    """

    model: Any = "demo"
    data: str | Pairs | Splits = Source.data
    split: str | None = None
    data_root: str | Path | None = None
    limit: int | None = None
    image_column: str = Source.image_column
    text_column: str = Source.text_column
    image_id_column: str | None = None
    image_root: str | Path | None = None
    query_column: str | None = None
    label_column: str | None = None
    embeddings: str | Path | EmbeddingSet | None = None
    columns: str | None = None
    pretrained: str | None = None
    arch: str | None = None
    precision: str = "fp32"
    device: str = "cpu"
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    name: str | None = None
    logit_scale: float | None = None
    bootstrap: int = Measuring.bootstrap
    seed: int = Measuring.seed
    cache_dir: Path | None = None
    _read: dict[Any, Any] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What was read of it: a task looks at it to see whether it applies, and several tasks are asked in turn."""

    def on(self, data: str | Pairs | Splits | None = None, split: str | None = None) -> Subject:
        """The same encoder on other data, or on another split."""
        return replace(self, data=self.data if data is None else data, split=self.split if split is None else split)

    @property
    def has_encoder(self) -> bool:
        """Whether there is something to encode with; of vectors there is not."""
        return self.embeddings is None

    def encoder(self) -> AnyEncoder:
        """The encoder itself; InputError where only vectors are at hand."""
        if not self.has_encoder:
            raise InputError(f"{option('embeddings')} are vectors, and this needs an encoder: name a model")
        if not isinstance(self.model, str):
            return taken(self.model, name=self.name, logit_scale=self.logit_scale)
        return any_encoder(
            self.model,
            pretrained=self.pretrained,
            arch=self.arch,
            precision=self.precision,
            device=self.device,
            cache_dir=self.cache_dir,
            seed=self.seed,
            name=self.name,
            logit_scale=self.logit_scale,
        )

    def pairs(self, *, named: bool = True) -> Pairs:
        """The data, as class data where a column says the class; with `named` off their classes may be numbers."""
        if not self.has_encoder:
            raise InputError(f"{option('embeddings')} are vectors, and this needs images: name data")
        kind = Source if named else Unnamed
        source = (
            kind(
                self.data,
                self.split,
                self.data_root,
                self.limit,
                self.image_column,
                self.text_column,
                self.image_id_column,
                self.image_root,
                self.query_column,
            )
            if isinstance(self.data, str)
            else None
        )
        if named not in self._read:
            parts = self.data.part(self.split) if isinstance(self.data, Splits) else self.data
            pairs = parts if source is None else load_pairs(source, cache_dir=self.cache_dir)
            assert isinstance(pairs, Pairs)
            self._read[named] = pairs if self.label_column is None else of_column(pairs, self.label_column)
        return self._read[named]

    def of_vectors(self, path: str | Path, progress: Progress = SILENT) -> EmbeddingSet:
        """The vectors of a file, read as those of `embeddings`."""
        if str(path) not in self._read:
            how: dict[str, Any] = {"columns": self.columns, "logit_scale": self.logit_scale}
            self._read[str(path)] = vectors(path, {}, **how, progress=progress)
        return self._read[str(path)]

    def embedded(self, progress: Progress = SILENT, *, pairs: Pairs | None = None) -> EmbeddingSet:
        """The vectors of the data, encoded or from the cache; those at hand where there are some."""
        if isinstance(self.embeddings, EmbeddingSet):
            return self.embeddings
        if self.embeddings is not None:
            return self.of_vectors(self.embeddings, progress)
        return embed(
            self.model,
            self.pairs() if pairs is None else pairs,
            pretrained=self.pretrained,
            arch=self.arch,
            precision=self.precision,
            device=self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            name=self.name,
            logit_scale=self.logit_scale,
            seed=self.seed,
            cache_dir=self.cache_dir,
            progress=progress,
        )
