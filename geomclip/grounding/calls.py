"""The door: find moments by an encoder alone, or by a run that `ground train` made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomclip.encoders.protocol import Encodes
from geomclip.grounding.predict import Prediction, predict
from geomclip.grounding.training import load_run
from geomclip.machine.errors import InputError
from geomclip.machine.words import option


def ground(
    videos: str | Path | Sequence[str | Path],
    queries: str | Sequence[str],
    *,
    run: str | Path | None = None,
    model: str | Encodes | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    **options: Any,
) -> Prediction:
    """The moments of videos that sentences describe, best first.

    Parameters
    ----------
    videos : path, or sequence of paths
        Video files, or folders of frames.
    queries : str, or sequence of str
    run : path, optional
        A finished run of `geomclip.grounding.training.train`: its model gives the scores, of rows of its own encoder.
    model : str or encoder, optional
        Left out: demo, or that of the run. With `pretrained` and `arch` as `geomclip.encoders.load_encoder` takes it.
    **options
        clips, fps, top, suppress, device, precision, ...: see `geomclip.grounding.predict.predict`.

    Returns
    -------
    Prediction
        Prints as a table; `answer().moments` are those of the first query in the first video.

    Raises
    ------
    InputError
        If a video, a query, the run or a number cannot be used, or a model is named beside a run.

    Examples
    --------
    >>> ground("pool.mp4", "a dog jumps into the water").answer().moments[0]  # doctest: +SKIP
    Moment(start=12.0, end=15.5, score=0.71)
    """
    if run is None:
        return predict(videos, queries, model=model or "demo", pretrained=pretrained, arch=arch, **options)
    beside = {"model": model, "pretrained": pretrained, "arch": arch}
    if named := [name for name, value in beside.items() if value is not None]:
        raise InputError(f"{option(named[0])} beside {option('run')}: the run takes the rows of its own encoder")
    trained = load_run(run, options.get("cache_dir"))
    return predict(videos, queries, trained=trained.for_videos(), **trained.encoder, **options)
