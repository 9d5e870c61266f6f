"""GeometryEvaluator: the panel of a model of sentence-transformers, in training or alone, and what changed since."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.files import make_folder, refuse_links
from geomclip.machine.outputs import append_text
from geomclip.machine.words import one_line
from geomclip.metrics import METRICS
from geomclip.panels import compare, measure
from geomclip.panels.comparison import Comparison
from geomclip.panels.measurement import metric_keys
from geomclip.panels.record import Panel
from geomclip.training.watching.looks import check_rows
from geomclip.training.watching.undisturbed import eval_mode

PRIMARY = "text_retrieval_recall@1"
"""What best checkpoints are chosen by where nothing is said: texts found for images, or for queries."""


class GeometryEvaluator:
    """An evaluator for sentence-transformers that gives the numbers of geomclip's panel.

    Made where that package is installed it is one of its evaluators, for `SentenceTransformerTrainer(evaluator=...)`;
    called as `evaluator(model, output_path)` it takes any model with `encode`. It keeps the panels of its first and
    newest call: `compare()` says what changed. A folder of output gets a row a call in
    `geometry_evaluation_NAME_results.csv`, and both panels as `..._before.json` and `..._after.json`, which
    `geomclip compare` takes.

    Parameters
    ----------
    texts : sequence of str
        A text for each image or query; several with `image_of_text`.
    images : sequence of pictures or paths, optional
        PIL pictures, or their files; or else:
    queries : sequence of str, optional
        Texts in their place, encoded as queries, and `texts` as documents. The panel calls the queries images.
    image_of_text : sequence of int, optional
        The row of the image or query that each text belongs to.
    name : str
        Before the names of all numbers, and in those of the files.
    primary : str, optional
        The key that best checkpoints are chosen by. Left out: recall@1 of texts.
    batch_size : int
    show_progress_bar, write_csv, write_json : bool
    **options
        Of `geomclip.measure`: metrics, bootstrap (0: no intervals, faster), seed, captions, logit_scale, dtype, device,
        cache_dir. Left out, the logit scale is the model's, or 1/0.01 is assumed.

    Attributes
    ----------
    before, after : Panel, optional
        Of the first and of the newest call.
    primary_metric : str
        The prefixed name of the primary key.
    greater_is_better : bool

    Raises
    ------
    InputError
        If there are not either images or queries, counts differ, or the primary key cannot choose a checkpoint.
    """

    def __new__(cls, *args: Any, **options: Any) -> GeometryEvaluator:
        """One that sentence-transformers knows as its own."""
        return super().__new__(_known_to_sentence_transformers(cls))  # type: ignore[arg-type]

    def __init__(
        self,
        texts: Sequence[str],
        *,
        images: Sequence[Any] | None = None,
        queries: Sequence[str] | None = None,
        image_of_text: Sequence[int] | None = None,
        name: str = "",
        primary: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        write_json: bool = True,
        **options: Any,
    ) -> None:
        if (images is None) == (queries is None):
            raise InputError("give either images= or queries=, which the texts belong to")
        if not name.isprintable() or set(name) & set("/\\"):
            raise InputError(f"name={name!r} becomes part of the names of files: leave / and \\ out of it")
        self.texts: list[str] = _listed("texts", texts)
        self.images = None if images is None else _listed("images", images)
        self.queries = None if queries is None else _listed("queries", queries)
        self.image_of_text = None if image_of_text is None else list(image_of_text)
        sides = self.images if self.images is not None else self.queries or []
        what = "images" if images is not None else "queries"
        if self.image_of_text is not None:
            _check_rows_of(self.image_of_text, len(self.texts), len(sides), what)
        elif len(sides) != len(self.texts):
            raise InputError(
                f"{len(sides)} {what} and {len(self.texts)} texts: a text for each, or image_of_text= says whose it is"
            )
        self.name, self.batch_size, self.show_progress_bar = name, batch_size, show_progress_bar
        self.write_csv, self.write_json, self.options = write_csv, write_json, options
        key = _primary(primary, metric_keys(options.get("metrics", "default")))
        self.greater_is_better = METRICS[key].better == "higher"
        self.primary_metric = self._prefixed(key)
        self.before: Panel | None = None
        self.after: Panel | None = None

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The numbers that are defined, under their prefixed names.

        Parameters
        ----------
        model : SentenceTransformer
        output_path : path, optional
            Where the files are written; left out: nowhere.
        epoch, steps : int
            When; -1 if it is not during training.

        Raises
        ------
        InputError
            If the model gives other widths for both sides, or rows without direction.
        """
        panel = self.measure(model, called=_when(epoch, steps))
        self.before, self.after = self.before or panel, panel
        values = {self._prefixed(key): float(value) for key, value in panel.values.items() if value is not None}
        if output_path is not None:
            self._write(make_folder(output_path), panel, epoch, steps)
        if hasattr(model, "model_card_data"):
            model.model_card_data.set_evaluation_metrics(self, values, epoch, steps)
        return values

    def measure(self, model: Any, *, called: str = "") -> Panel:
        """The panel of a model, with its intervals; what tables call it."""
        return measure(self.embeddings(model), name=called, **self.options)

    def embeddings(self, model: Any) -> EmbeddingSet:
        """The vectors of all images or queries and texts; the model stays in the mode it was in."""
        encode: Callable[..., Any] = model.encode
        with torch.no_grad(), eval_mode(model if isinstance(model, nn.Module) else None):
            if self.images is not None:
                image = self._rows(encode, [_picture(each) for each in self.images])
                text = self._rows(encode, self.texts)
            else:
                image = self._rows(getattr(model, "encode_query", encode), list(self.queries or []))
                text = self._rows(getattr(model, "encode_document", encode), self.texts)
        if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
            check_rows(image, text, "encode gives")
        scale, bias = _scale_and_bias(model)
        known: dict[str, Any] = {"caption": self.texts, "logit_bias": bias, "made_from": {"dataset": self.name}}
        if scale is not None:
            known |= {"logit_scale": scale, "logit_scale_source": "model"}
        if self.images is not None and all(isinstance(each, str | Path) for each in self.images):
            known["image_path"] = [str(each) for each in self.images]
        return EmbeddingSet(image, text, self.image_of_text, **known)  # type: ignore[arg-type]

    def compare(self, **options: Any) -> Comparison:
        """What changed from the first call to the newest, with intervals and a verdict; options of `geomclip.compare`.

        Raises
        ------
        InputError
            If it was not called twice.
        """
        if self.before is None or self.after is None or self.before is self.after:
            raise InputError("compare needs two calls of the evaluator: one before training, and one after")
        return compare(self.before, self.after, **options)

    @property
    def description(self) -> str:
        """What model cards call it."""
        return "Geometry"

    def get_config_dict(self) -> dict[str, Any]:
        """What model cards say of how it measures."""
        return {key: value for key, value in self.options.items() if isinstance(value, str | int | float)}

    def _prefixed(self, key: str) -> str:
        return f"{self.name}_{key}" if self.name else key

    def _rows(self, encode: Callable[..., Any], inputs: list[Any]) -> Tensor:
        how: dict[str, Any] = {"batch_size": self.batch_size, "show_progress_bar": self.show_progress_bar}
        rows = encode(inputs, convert_to_tensor=True, **how)
        return torch.as_tensor(rows).detach().float().cpu()

    def _write(self, folder: Path, panel: Panel, epoch: float, steps: int) -> None:
        stem = f"geometry_evaluation_{self.name}" if self.name else "geometry_evaluation"
        if self.write_csv:
            row = {"epoch": epoch, "steps": steps, **panel.values}
            _append_row(folder / f"{stem}_results.csv", row)
        if self.write_json:
            if panel is self.before:
                panel.save(folder / f"{stem}_before.json")
            panel.save(folder / f"{stem}_after.json")


@cache
def _known_to_sentence_transformers(cls: type) -> type:
    """The class with their evaluator as a base, which their trainer looks for; the class itself without the package."""
    try:
        from sentence_transformers.base.evaluation import BaseEvaluator
    except ImportError:
        try:  # before release 6
            from sentence_transformers.evaluation import SentenceEvaluator as BaseEvaluator
        except ImportError:
            return cls
    if issubclass(cls, BaseEvaluator):
        return cls
    return type(cls.__name__, (cls, BaseEvaluator), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _primary(primary: str | None, wanted: set[str]) -> str:
    """The key that chooses checkpoints: the one that is named, recall@1 of texts, or the first that has a direction."""
    judged = [key for key in METRICS if key in wanted and METRICS[key].better]
    if primary is None:
        found = PRIMARY if PRIMARY in judged else next(iter(judged), None)
        if found is None:
            raise InputError("none of these metrics can be better or worse: name one more in metrics=")
        return found
    if primary not in judged:
        raise InputError(
            f"primary={primary!r} is not measured, or is neither better nor worse; those that are: "
            f"{', '.join(judged[:6])}, ..."
        )
    return primary


def _listed(argument: str, inputs: Any) -> list[Any]:
    """A list of strings, or of pictures and paths, refused before a model is called for it."""
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
        raise InputError(f"{argument}= must be a list, got {type(inputs).__name__}")
    found = list(inputs)
    if not found:
        raise InputError(f"{argument}= is empty: there is nothing to measure")
    pictures = argument == "images"
    for place, each in enumerate(found):
        if not isinstance(each, str | Path if pictures else str) and not (pictures and hasattr(each, "convert")):
            wanted = "a picture or its file" if pictures else "one string"
            raise InputError(f"{argument}[{place}] must be {wanted}, got {type(each).__name__}")
    return found


def _check_rows_of(image_of_text: Sequence[Any], texts: int, sides: int, what: str) -> None:
    """Refuse what does not say of each text which image or query it belongs to."""
    if len(image_of_text) != texts:
        raise InputError(f"image_of_text= has {len(image_of_text)} rows for {texts} texts")
    outside = next((each for each in image_of_text if not 0 <= each < sides), None)
    if outside is not None:
        raise InputError(f"image_of_text= names row {outside!r:.40}, and there are {sides} {what}: 0 to {sides - 1}")


def _when(epoch: float, steps: int) -> str:
    if steps >= 0:
        return f"step {steps}"
    return f"epoch {epoch:g}" if epoch >= 0 else ""


def _picture(image: Any) -> Any:
    """A picture, read where it is a file."""
    if not isinstance(image, str | Path):
        return image
    from geomclip.pairs.images import decode

    try:
        return decode(regular.read(image, "image-bytes"), name=str(image))
    except (OSError, ValueError) as problem:
        no_image = InputError(f"{image} cannot be read ({one_line(problem)})")
        raise unreadable(image, problem, no_image) from problem


def _scale_and_bias(model: Any) -> tuple[float | None, float | None]:
    """1/temperature and the bias of a model that has learned them."""
    held = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    found = {}
    for name in ("logit_scale", "logit_bias"):
        values = [value for key, value in held.items() if key.rpartition(".")[2] == name and value.numel() == 1]
        found[name] = float(values[0].detach()) if len(values) == 1 else None
    scale = found["logit_scale"]
    return (None, None) if scale is None else (math.exp(scale), found["logit_bias"])


def _append_row(path: Path, row: dict[str, Any]) -> None:
    """A row of a table, below its head; a table of other columns is left as it is."""
    text = io.StringIO()
    writer = csv.writer(text)
    refuse_links(path.parent, path.name)
    head = regular.read(path, "caption-bytes").decode().partition("\n")[0].strip() if path.exists() else ""
    if not head:
        writer.writerow(row)
    elif head.split(",") != list(row):
        raise InputError(f"{path} has other columns: another evaluator's; give name=, or move it away")
    writer.writerow("" if value is None else value for value in row.values())
    append_text(path, text.getvalue())
