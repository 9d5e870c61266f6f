"""Extra: what no default panel has: fitted temperatures, curves, and two numbers of a paper."""

from __future__ import annotations

from geomclip.metrics.alignment import relative_alignment_text_to_image
from geomclip.metrics.calibration import calibrated
from geomclip.metrics.gap_curves import gap_ablation_curve, gap_shift_curve
from geomclip.metrics.kinds import on_kept_rows
from geomclip.metrics.uniformity import uniformity
from geomclip.panels.run import Run


def temperatures(run: Run) -> None:
    """The temperature fitted on half of the images, and the calibration error of the other half at it."""
    pairing = run.pairs()
    for prefix, axis in (("text_retrieval", "image"), ("image_retrieval", "text")):
        if run.wants(f"{prefix}_temperature", f"{prefix}_ece_calibrated"):
            with run.timed("temperature"):
                try:
                    temperature, error = calibrated(pairing, axis, seed=run.options.seed)
                except ValueError as undefined:
                    run.undefined(f"{prefix}_temperature", str(undefined))
                    run.undefined(f"{prefix}_ece_calibrated", str(undefined))
                    continue
                run.put(f"{prefix}_temperature", temperature)
                run.put(f"{prefix}_ece_calibrated", error)


def curves(run: Run) -> None:
    """How gap, recall and uniformity move as the clouds are shifted together, or dimensions removed."""
    if not run.options.curves:
        return
    pairing = run.pairs()
    with run.timed("curves"):
        for name, curve in (("gap_shift_curve", gap_shift_curve), ("gap_ablation_curve", gap_ablation_curve)):
            try:
                points = curve(run.image, pairing.text, pairing.own)
            except ValueError as undefined:  # the means are one point: a note, as of a value that is undefined
                run.found.notes[name] = str(undefined)
                continue
            run.found.curves[name] = {key: each.tolist() for key, each in points.items()}


def as_in_the_paper(run: Run) -> None:
    """Two numbers as the code of Oh et al. (2023) has them, on the first text of each image.

    Its uniformity stacks the images twice (2n rows, each with a copy at distance 0) and leaves the texts out:
    log( 2(n − 1)/(2n − 1) exp(uniformity_image) + 1/(2n − 1) ).
    """
    if run.options.paper != "oh2023":
        return
    with run.timed("paper"):
        n = run.n
        images = on_kept_rows(uniformity)(run.image).exp()
        relative = on_kept_rows(relative_alignment_text_to_image)(run.image, *run.pairs().first_texts())
        run.found.values["oh2023_uniformity"] = float((2 * (n - 1) * images / (2 * n - 1) + 1 / (2 * n - 1)).log())
        run.found.values["oh2023_relative_alignment"] = float(relative)
