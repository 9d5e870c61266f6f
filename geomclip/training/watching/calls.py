"""watch: from what a caller has, a batch, pairs, data by name, a model or a function, to a watch over a loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.training.watching.looks import Look
from geomclip.training.watching.samples import samples
from geomclip.training.watching.scales import attribute
from geomclip.training.watching.watch_log import WatchLog
from geomclip.training.watching.watcher import Watch


def watch(
    probe: Any = None,
    *,
    encode: Any = None,
    every: int = 100,
    out: str | Path = "log.jsonl",
    tensorboard: Any = None,
    wandb: Any = None,
    logit_scale: Any = None,
    module: nn.Module | None = None,
    preprocess: Callable[[Any], Tensor] | None = None,
    tokenize: Callable[[list[str]], Any] | None = None,
    size: int = 256,
    split: str | None = None,
    data_root: str | Path | None = None,
) -> Watch:
    """Watch a training loop of your own, or of open_clip, transformers, sentence-transformers or Lightning.

    Each step the numbers of its batch (alignment, uniformity, gap, RankMe, mean cosines, temperature; of at most 128
    rows), each `every` steps those of a fixed probe, into a log of JSON lines. Warns of a collapse, a logit scale that
    runs away, and NaN, once each.

    Parameters
    ----------
    probe : tuple, list, str or Pairs, optional
        Pairs that are looked at again and again: a batch (images, texts) as the encoder takes it, a list of pairs
        (image, text), the name of data, or pairs already read. Left out: batches alone are watched.
    encode : callable or Module, optional
        A function from (images, texts) to (image rows, text rows), or a model of open_clip, transformers or
        sentence-transformers. Left out: the model that a callback is given. A model is looked at in eval mode and
        without gradients, and left in the mode it was in, with all generators as they were.
    every : int
        Steps between looks at the probe; there is one before the first step too.
    out : path
        The log. One that is there is gone on with, where it is of this probe and holds the steps before.
    tensorboard : bool, path or SummaryWriter, optional
        True: the folder `tensorboard` beside the log.
    wandb : bool or run, optional
        True: a run of its own beside the log; a run that is open gets the numbers under `geomclip/`.
    logit_scale : callable or Module, optional
        A function without arguments that gives 1/temperature as a factor, or a model whose `logit_scale` is its
        logarithm. Left out: what `step` is given, or the model of a callback has.
    module : Module, optional
        The model that a function `encode` calls: it is then looked at in eval mode.
    preprocess, tokenize : callable, optional
        From a picture to pixels, and from a list of texts to what the model takes, for probes that are no batch.
    size, split, data_root
        How many pairs of named data, of which split, and where they lie.

    Returns
    -------
    Watch

    Raises
    ------
    InputError
        If the probe or `encode` cannot be used, `every` is below 1, or the log is another run's.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder, watch(out=Path(folder, "log.jsonl")) as watched:
    ...     watched.step(torch.eye(4), torch.eye(4), logit_scale=14.3)
    ...     watched.batch["alignment"], watched.warnings
    (0.0, [])
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every must be 1 step or more, got {every!r}")
    seen = None
    if probe is not None:
        how: dict[str, Any] = {"size": size, "split": split, "data_root": data_root}
        seen = samples(probe, preprocess=preprocess, tokenize=tokenize, **how)
    look = None if encode is None else Look(encode, module)
    if isinstance(encode, nn.Module) and logit_scale is None and isinstance(attribute(encode, "logit_scale"), Tensor):
        logit_scale = encode
    about = {"probe": None if seen is None else seen.sha256(), "pairs": 0 if seen is None else len(seen)}
    log = WatchLog(Path(out).expanduser(), about, every=every, tensorboard=tensorboard, wandb=wandb)
    return Watch(log, seen, look, every=every, logit_scale=logit_scale)
