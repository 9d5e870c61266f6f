"""Subsamples: numbers that move with the number of images, as means over draws of one size, so that sets compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.machine.progress import SILENT
from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE
from geomclip.metrics.pairing import Pairing
from geomclip.panels.run import Run

LEAST_DRAWS = 20
"""Their mean differs by seed less than by the images of the set; docs/metrics.md says by how much."""

STAGE = "subsamples"

Answers = tuple[dict[str, Any], dict[str, str]]
"""Values and notes of a draw: its rows need not be held."""

Measure = Callable[[Run], None]
"""Puts what the vectors of a run give."""


def at_fixed_size(run: Run, measure: Measure) -> None:
    """Each wanted number at `FIXED_SIZE` images: the mean over draws of images with their texts, measured as a set.

    A set of just as many has the number itself. Class texts belong to no image: of class data there are the
    numbers of the images alone.

    Parameters
    ----------
    run : Run
        With the values of the whole set.
    measure : function
        What measures a draw; handed in, since it is made of the stages beside this one.
    """
    wanted = {plain: key for plain, key in AT_FIXED_SIZE.items() if run.wants(key) and _is_defined(run, plain)}
    if run.n < FIXED_SIZE:
        for key in wanted.values():
            run.undefined(key, f"needs at least {FIXED_SIZE} images, got {run.n}")
        return
    if run.n == FIXED_SIZE and run.options.sample_blocks is None:
        for plain in wanted.keys() & run.wanted:
            _copy(run, plain, wanted.pop(plain))
    if not wanted:
        return
    with run.timed(STAGE):
        found = list(_measured(run, frozenset(wanted), measure))
    run.found.params["subsamples"] = {"images": FIXED_SIZE, "draws": len(found)}
    for plain, key in wanted.items():
        reason = next((notes[plain] for values, notes in found if values.get(plain) is None), None)
        if reason is not None:
            run.undefined(key, f"in a draw of {FIXED_SIZE} images: {reason}")
        else:
            run.put(key, float(np.mean([values[plain] for values, _ in found])))


def draws(n: int, *, seed: int) -> Iterator[Tensor]:
    """Rows (FIXED_SIZE,), rising, of each draw without replacement from n images.

    Stretches of one shuffled circle whose starts are evenly spaced: each image is in as many draws as any other, to
    within one. What adds up over images is then the same for every seed, or nearly; only the rest has an error.
    """
    order = torch.from_numpy(np.random.default_rng([seed, 2]).permutation(n))
    count = max(LEAST_DRAWS, -(-n // FIXED_SIZE)) if n > FIXED_SIZE else 1
    for draw in range(count):
        yield order[(draw * n // count + torch.arange(FIXED_SIZE)) % n].sort().values


def part(run: Run, images: Tensor, wanted: frozenset[str]) -> Run:
    """The run of some images (rising rows) with their texts, for these keys and without intervals, before any stage."""
    pairing = None
    if run.pairing is not None:
        place = torch.full((run.n,), -1)
        place[images] = torch.arange(len(images))
        own = place[run.pairing.own]
        texts = (own >= 0).nonzero()[:, 0]
        pairing = Pairing.of(run.image[images], run.pairing.text[texts], own[texts])
    options = replace(run.options, bootstrap=0, curves=False, paper=None, by=None, sample_blocks=None)
    return Run(run.image[images], pairing, None, run.logit_scale, wanted, options, {}, SILENT)


def _is_defined(run: Run, plain: str) -> bool:
    """Whether a draw can have this number: class data have no texts to draw, whose keys `Run.finish` explains."""
    return run.pairing is not None or plain.endswith("_image")


def _copy(run: Run, plain: str, key: str) -> None:
    if run.has(plain):
        run.put(key, run.found.values[plain])
    else:
        run.undefined(key, run.found.notes.get(plain, "undefined for this set"))


def _measured(run: Run, wanted: frozenset[str], measure: Measure) -> Iterator[Answers]:
    """What each draw has, in their order; threads share them, each draw by one thread."""

    def of(images: Tensor) -> Answers:
        one = part(run, images, wanted)
        if one.pairing is not None and one.pairing.m < 2:
            for key in wanted:
                one.undefined(key, f"at least 2 texts are needed, got {one.pairing.m}")
            return one.found.values, one.found.notes
        measure(one)
        one.evaluate()
        one.finish()
        return one.found.values, one.found.notes

    chosen = list(draws(run.n, seed=run.options.seed))
    with Workers(min(free_threads(), len(chosen)), STAGE) as workers:
        for done, call in enumerate([workers.add(of, images) for images in chosen], 1):
            yield workers.result(call)
            run.progress.stage(STAGE, done, len(chosen))
