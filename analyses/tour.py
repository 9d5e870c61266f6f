"""What can be done with a CLIP here? A tour: measure, see, fine-tune, compare.

    python analyses/tour.py [--model demo] [--data emoji] [--out tour]

runs every cell below in less than a minute on two cores, without a network, and leaves the pictures in a folder. As a
notebook (`jupytext --to notebook analyses/tour.py`) it shows each below its cell. --model and --data take what every
command of geomclip takes; another model needs the time that its size asks for.
"""

# %%
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from matplotlib.figure import Figure

import geomclip as gc
from geomclip.panels.details import details_of
from geomclip.plots import static
from geomclip.projections.maps import project, project_pair
from geomclip.training.watching.journal import read_log

parser = argparse.ArgumentParser(description="Measure, see, fine-tune, compare.")
parser.add_argument("--model", default="demo")
parser.add_argument("--data", default="emoji")
parser.add_argument("--out", type=Path, default=Path("tour"), help="a folder that is new or empty")
parser.add_argument("--steps", type=int, default=20, help="of fine-tuning")
parser.add_argument("--bootstrap", type=int, default=200, help="resamples for the intervals")
parser.add_argument("--limit", type=int, help="only the first images of each split")
here = parser.parse_args([] if "ipykernel" in sys.modules else None)
if here.out.exists() and any(here.out.iterdir()):
    parser.error(f"{here.out} holds something already: name a new folder with --out")


def kept(picture: Figure, name: str) -> Figure:
    """The picture, written into the folder."""
    print(static.save(picture, here.out / name))
    return picture


# %% [markdown]
# ## Measure
#
# Images and texts become unit rows of one space. The panel has every number of that space, with an interval and with
# the value that chance would give, and says in a sentence what they mean.

# %%
before = gc.embed(here.model, here.data, limit=here.limit)
panel = gc.measure(before, bootstrap=here.bootstrap, curves=True)
print(panel)

# %% [markdown]
# ## See
#
# First the distributions that the numbers summarise. Are matched pairs nearer to each other than to the rest?

# %%
details = details_of(before)
kept(static.similarities(details.edges, details.similarities, "Cosines of matched and other pairs"), "cosines.png")

# %% [markdown]
# Does the model know how often it is right?

# %%
bins, ece = panel.reliability["image_retrieval"], panel["image_retrieval_ece"]
confidence = static.reliability(bins, ece, panel.ci["image_retrieval_ece"], "Confidence and accuracy, text → image")
kept(confidence, "confidence.png")

# %% [markdown]
# Which items are found by everybody, and which by nobody?

# %%
counts = details.k_occurrence
kept(static.k_occurrence(counts.get("image"), counts.get("text"), details.k, "Hubs"), "hubs.png")

# %% [markdown]
# The modalities lie apart: the *modality gap*. Is it what retrieval fails by? Close it by hand, with a shift or by
# cutting the dimensions that carry it, and look at the recall.

# %%
curves = panel.curves["gap_shift_curve"], panel.curves["gap_ablation_curve"]
kept(static.gap_curves(*curves, "Closing the gap by hand"), "gap.png")

# %% [markdown]
# The whole space on a sphere. No picture of so many dimensions is true: what this one keeps stands below it, and the
# gap as it is beside the gap as it is drawn.

# %%
kept(static.sphere(project(before, "angles"), title=f"{here.model} on {here.data}"), "sphere.png")

# %% [markdown]
# ## Fine-tune
#
# A few steps of m²-mix: contrastive learning with negatives that are mixed of both modalities along great circles.

# %%
folder = here.out / "run"
settings = {"steps": here.steps, "batch_size": min(128, here.limit or 128), "probe_every": 2}
run = gc.finetune("m2mix", here.model, here.data, out=folder, limit=here.limit, bootstrap=here.bootstrap, **settings)

# %% [markdown]
# Its log tells where a probe of held-out pairs went on the plane of alignment and uniformity.

# %%
probes = [(line["step"], line["probe"]) for line in read_log(folder / "log.jsonl") if "probe" in line]
path = [(step, probe["alignment"], probe["uniformity_joint"]) for step, probe in probes]
ends = {"before": path[0][1:], "after": path[-1][1:]}
kept(static.alignment_uniformity(ends, path, "What the training moved, seen on val"), "path.png")

# %% [markdown]
# ## Compare
#
# Paired by image: differences with intervals, and which of them are more than noise.

# %%
print(run.comparison)

# %%
after = gc.embed(str(folder), here.data, limit=here.limit)
pair = project_pair(before, after, "angles")
kept(static.sphere_pair(*pair, title=f"{here.steps} steps of m²-mix"), "before-after.png")
