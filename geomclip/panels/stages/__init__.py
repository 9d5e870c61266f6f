"""The stages of a panel: each takes the run and puts values, columns to resample, and items."""

from __future__ import annotations

from geomclip.panels.run import Run
from geomclip.panels.stages import blocks, classes, clouds, copies, extra, nulls, subsamples, sweeps, uncertainty


def of_vectors(run: Run) -> None:
    """Everything that the vectors give, in the order in which it is cheapest."""
    copies.units(run)
    if run.options.sample_blocks is None:
        sweeps.every_pair(run)
    else:
        run = blocks.sampled(run)
    if run.pairing is not None:
        clouds.gap(run)
        clouds.separability(run)
        clouds.two_spaces(run)
        extra.temperatures(run)
    elif run.classes is not None:
        classes.zeroshot(run)
    copies.warning(run)
    clouds.shapes(run)
    if run.pairing is not None:
        extra.curves(run)
        extra.as_in_the_paper(run)


def conclude(run: Run) -> None:
    """The numbers that are formulas of what was found, those at a fixed size, their intervals, and their nulls."""
    run.evaluate()
    clouds.standardized(run)
    subsamples.at_fixed_size(run, of_vectors)
    run.finish()
    uncertainty.intervals_of(run)
    nulls.nulls_of(run)
