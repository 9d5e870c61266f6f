"""Pairs + encoder -> store, resumable; and the embeddings of any model and data by name, cached."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.store import load
from geomclip.encoders.extraction.elsewhere import Elsewhere, Load
from geomclip.encoders.extraction.healing import is_lost
from geomclip.encoders.extraction.plan import BATCH_SIZE, SHARD_ROWS, Extraction
from geomclip.encoders.extraction.refusals import OtherImagesError
from geomclip.encoders.names import DEMO
from geomclip.encoders.protocol import AnyEncoder, Encodes, EncodesInputs, Kind
from geomclip.machine.engines import count_of
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import LOCK_NAME
from geomclip.machine.files import cache_dir as default_cache
from geomclip.machine.lock import clear_unheld
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.pairs import Pairs, Source, load_pairs

if TYPE_CHECKING:
    from geomclip.encoders.custom.functions import Encode


def embed(
    model: str | Encodes | Any = None,
    data: str | Pairs = Source.data,
    *,
    split: str | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    data_root: str | Path | None = None,
    cache_dir: Path | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    limit: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    image_column: str = Source.image_column,
    text_column: str = Source.text_column,
    image_id_column: str | None = None,
    image_root: str | Path | None = None,
    query_column: str | None = None,
    encode_image: Encode | None = None,
    encode_text: Encode | None = None,
    name: str | None = None,
    logit_scale: float | None = None,
    progress: Progress = SILENT,
) -> EmbeddingSet:
    """Embeddings of a data set under a model, from the cache where the same have been made before.

    The cache (`embeddings/` in `cache_dir`) knows them by the weights, preprocessing, precision, batch size
    and data (ids, captions, the bytes of every image), and by the names of model and data. A model
    whose files are what they were is not loaded for that (`geomclip.encoders.remembered`), nor are images read
    (`geomclip.encoders.extraction.digests`).

    Parameters
    ----------
    model : str or encoder
        A name that `geomclip models` lists or explains, or an encoder already loaded: one of geomclip's, a
        SentenceTransformer, or any object or function that `geomclip.encoders.custom.taken` takes. Left out: "demo",
        or the functions below.
    data : str or Pairs
        A name that `geomclip data` lists or explains, or pairs already read.
    split : str, optional
        Left out: test if the set has one, else val.
    pretrained, arch, precision, device, seed
        Of the model, as `geomclip.encoders.load_encoder` takes them.
    logit_scale : float, optional
        In place of the model's own, also where that is infinite or NaN; the rows are the same.
    data_root, image_column, text_column, image_id_column, image_root, query_column
        Of the data, as `geomclip.pairs.Source` has them.
    cache_dir : path, optional
        Left out: see `geomclip.machine.files.cache_dir`.
    batch_size, workers : int
        See `extract`.
    limit : int, optional
        Only the first images.
    out : path, optional
        Folder to keep the store in, instead of the cache.
    encode_image, encode_text : callable, optional
        In place of a model: each takes a list, of RGB pictures (PIL) or of str, and gives as many rows, an array or
        tensor of floats. Each is first called with one input, then with up to `batch_size`, always by this thread.
    name : str, optional
        What the rows of an encoder of the caller's own are known by in the cache. Left out: they are not kept.
    logit_scale : float, optional
        1/temperature of such an encoder, as a factor. Left out: what the object says; else 100 is assumed.
    progress : Progress, optional
        See `extract`.

    Returns
    -------
    EmbeddingSet
        With `made_from`: model, data, precision and what was skipped.

    Raises
    ------
    InputError
        If a name or a file cannot be used, more than a tenth of the images cannot be read, or rows are not of one
        width or not as many as inputs.
    GeomclipError
        If a function of the caller's fails: file, line and what it raised.

    Examples
    --------
    >>> def encode(inputs):
    ...     return [[float(len(str(each))), 1.0] for each in inputs]
    >>> embed(encode_image=encode, encode_text=encode, data="emoji", limit=4)  # doctest: +SKIP
    EmbeddingSet(4 images, 11 texts, 2 dimensions, logit scale 100 (assumed))
    """
    weights: dict[str, Any] = {"pretrained": pretrained, "arch": arch, "precision": precision, "device": device}
    weights["cache_dir"] = cache_dir
    own: dict[str, Any] = {"name": name, "logit_scale": logit_scale}
    encoder = _encoder(model, encode_image, encode_text, own, weights, seed=seed, progress=progress)
    if isinstance(data, str):
        columns = (image_column, text_column, image_id_column, image_root, query_column)
        data = load_pairs(Source(data, split, data_root, limit, *columns), cache_dir=cache_dir, progress=progress)
    run = Extraction(encoder, data.limited(limit), batch_size=batch_size, cache=cache_dir, progress=progress)
    if out is not None:
        found = load(run.into(Path(out).expanduser(), workers=workers))
    elif isinstance(encoder, EncodesInputs) and not encoder.named:
        with TemporaryDirectory(prefix="geomclip-") as folder:
            found = load(run.into(Path(folder) / "store", workers=workers))
    else:
        found = _cached(run, default_cache(cache_dir) / "embeddings", workers=workers)
    if logit_scale is None or isinstance(encoder, EncodesInputs):  # these say the scale themselves
        return found
    return found.replace(logit_scale=logit_scale, logit_scale_source="asked")


def _encoder(
    model: Any,
    encode_image: Encode | None,
    encode_text: Encode | None,
    own: dict[str, Any],
    weights: dict[str, Any],
    *,
    seed: int,
    progress: Progress,
) -> AnyEncoder:
    """The encoder that is meant: two functions, a name, or an object; `own` is of encoders of the caller's own."""
    from geomclip.encoders.custom import FunctionEncoder, encoder_of, is_custom, taken
    from geomclip.encoders.custom.taken import name_of

    functions: dict[Kind, Encode] = {}
    for kind, function in (("image", encode_image), ("text", encode_text)):
        if function is not None:
            if not callable(function):
                raise InputError(f"encode_{kind} must be a function from a list to rows, got {function!r:.60}")
            functions[kind] = function  # type: ignore[index]
    if functions:
        if model is not None:
            raise InputError("model is one encoder, encode_image and encode_text are another: leave one out")
        what = own["name"] or name_of(next(iter(functions.values())))
        return FunctionEncoder(functions, model=what, **own)
    model = DEMO if model is None else model
    if is_custom(model):
        return encoder_of(model, **own, **weights)
    if not isinstance(model, str):
        return taken(model, **own)
    if own["name"] is not None:
        raise InputError(f"{model} has a name of its own: {option('name')} is of an encoder of your own")
    from geomclip.encoders.remembered import remembered

    return remembered(model, **weights, seed=seed, logit_scale=own["logit_scale"], progress=progress)


def extract(
    encoder: AnyEncoder,
    pairs: Pairs,
    out: str | Path,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
    raw: bool = False,
    logit_scale: float | None = None,
    engine: str | None = None,
    processes: int | None = None,
    load: Load | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Encode all pairs into a store folder; continues one that was begun, leaves a finished one as it is.

    A shard is a fixed range of inputs, a batch a fixed range of a shard, so the bytes do not depend on where
    earlier runs were stopped. An image that cannot be read is skipped and named in the manifest.

    Parameters
    ----------
    encoder : Encoder
        Or one of `geomclip.encoders.custom`.
    pairs : Pairs
    out : path
        A new or empty folder, or one that the same extraction began.
    batch_size : int
        Images (or texts) that the model sees at once; on a CPU that many for each worker.
    workers : int, optional
        Threads that each read, decode, resize and encode batches of their own; 0: the calling thread alone.
        Left out: as many as torch has threads, with a model on a GPU as there are processors.
    shard_rows : int
        Images a shard; a killed run loses those of the shard that it was making, and the few begun after it.
    raw : bool
        Keep the lengths of the rows.
    logit_scale : float, optional
        What the store says in place of the model's own.
    engine : str, optional
        "process" or "ray": shards are made by other processes, of this machine or of a cluster, each with the encoder,
        and are the same to the byte. Left out: by this process. docs/scale.md says more.
    processes : int, optional
        Of an engine; 2 if left out. `workers` is then the number of threads of each, left out those of this process
        shared out.
    load : callable, optional
        Of an engine: a function, which can be pickled, that gives each process its encoder. Left out: the encoder is
        pickled.
    cache_dir : path, optional
        Where digests of the images are kept; see `geomclip.machine.files.cache_dir`.
    progress : Progress, optional
        Takes the stage "encoding" (images and texts done, of how many; images skipped so far as its note), and
        lines on what is used again and what was skipped.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds something else, another extraction, or is being written; if more than a tenth
        of the images cannot be read.
    NotAvailableError
        If the engine is not installed.
    GeomclipError
        If the disk is full, or workers of an engine die of a shard. What is finished stays, and the same call goes
        on from there.
    """
    how: dict[str, Any] = {"batch_size": batch_size, "shard_rows": shard_rows, "raw": raw, "cache": cache_dir}
    how["logit_scale"] = logit_scale
    run = Extraction(encoder, pairs, **how, progress=progress)
    maker = _maker(run, engine, processes=processes, workers=workers, load=load)
    return run.into(Path(out).expanduser(), workers=workers, maker=maker)


def _maker(run: Extraction, engine: str | None, *, processes: int | None, **how: Any) -> Elsewhere | None:
    if engine is None:
        count_of(engine, processes)  # which refuses some of none
        return None
    return Elsewhere(run, engine, processes=processes, **how)


def _cached(run: Extraction, cache: Path, *, workers: int | None) -> EmbeddingSet:
    """What the folder of the cache holds that is of these images, filled: those of one key are numbered from 0.

    Only their bytes tell which it is. They are compared where a folder of the key is there, by digests that are known
    or made; where none is, nothing is read but what is encoded. A folder that is removed meanwhile is begun again once.
    """
    key, number, again = run.key(), 0, False
    for left in cache.glob(f"*/{LOCK_NAME}"):
        clear_unheld(left.parent)
    while True:
        folder = cache / f"{key}-{number}"
        try:
            return load(run.into(folder, workers=workers, in_cache=True))
        except OtherImagesError:
            number += 1
        except (GeomclipError, OSError):
            if again or not is_lost(folder, run.manifest):
                raise
            again = True
            run.progress.log(f"{folder} in the cache was removed while it was used: begun again")
