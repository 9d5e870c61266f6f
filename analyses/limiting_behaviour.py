"""What the losses become as the temperature goes to 0: a numeric experiment on a theorem of Oh et al. (2023).

In short: for τ → 0 and many pairs the contrastive loss becomes the relative alignment, and the m²-mix loss the
uniformity (lower is better of each, as everywhere in geomclip). What must hold for any rows is

    0 ≤ τ L_τ − mean_i max(0, max_{j ≠ i} s_ij − s_ii) ≤ τ log M,

so τ L_τ falls to a triplet loss without margin: half the relative alignment, counted only where it is positive.
The same holds of m²-mix with its mixed negatives. Two tables say how far this carries:

1. the value of τ L_τ, its limit, and the share of τ log M that lies between them;
2. the cosine between the gradient of each loss and the gradient of what it is said to become. A loss that behaves
   like a quantity moves the rows the way that quantity does.

Uniformity is log mean exp(−t‖x − y‖²) with t = 2. A contrastive loss at temperature τ holds such a mean with
t = 1/(2τ): the two agree at τ = 1/4 and part as τ falls, which is why both t are in the second table.

    python analyses/limiting_behaviour.py [--model demo] [--data emoji] [--out FILE.json]

runs in seconds. `values` and `directions` take any unit rows.
"""

# %%
from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from geomclip import losses

TEMPERATURES = (1.0, 0.25, 0.07, 0.02, 0.01, 0.003, 0.001)

# %% [markdown]
# ## The limits


# %%
def hardest(cosines: Tensor) -> Tensor:
    """The largest entry of each row (M,) off the diagonal."""
    return torch.diagonal_scatter(cosines, torch.full_like(cosines[0], -torch.inf)).amax(1)


def triplet(of_image: Tensor, of_text: Tensor) -> Tensor:
    """Mean of both directions of max(0, hardest negative − positive); positives on the diagonals."""
    return sum(F.relu(hardest(each) - each.diagonal()).mean() for each in (of_image, of_text)) / 2


def relative_alignment(image: Tensor, text: Tensor) -> Tensor:
    """Mean of both directions of 2 (hardest negative − positive): the triplet without its lower bound, twice."""
    s = image @ text.T
    return (hardest(s) - s.diagonal()).mean() + (hardest(s.T) - s.diagonal()).mean()


def crowding(of_image: Tensor, of_text: Tensor, tau: float) -> Tensor:
    """What a contrastive loss holds of its negatives alone: mean_i log Σ_{j ≠ i} exp(s_ij/τ), both directions."""
    off = [torch.diagonal_scatter(each, torch.full_like(each[0], -torch.inf)) for each in (of_image, of_text)]
    return sum((each / tau).logsumexp(1).mean() for each in off) / 2


def uniformity_joint(image: Tensor, text: Tensor) -> Tensor:
    """Log mean exp(−2‖p − q‖²) over all pairs of the stacked rows."""
    z = torch.cat([image, text])
    return losses.cross_uniformity(z, z)


def values(
    image: Tensor, text: Tensor, lam: Tensor, temperatures: Iterable[float] = TEMPERATURES
) -> list[dict[str, float]]:
    """τ L_τ of both losses, their limits, and what lies between as a share of τ log M; a row a temperature."""
    s, bound = image @ text.T, math.log(len(image))
    limits = {"contrastive": triplet(s, s.T), "m2_mix": triplet(*losses.m2_cosines(image, text, lam))}
    rows = []
    for tau in temperatures:
        found = {
            "contrastive": tau * losses.contrastive(image, text, tau),
            "m2_mix": tau * losses.m2_mix(image, text, lam, tau),
        }
        row = {"tau": tau}
        for name, value in found.items():
            row[name] = value.item()
            row[f"{name}_share"] = ((value - limits[name]) / (tau * bound)).item()
        rows.append(row)
    at_zero = {"tau": 0.0, **{name: limit.item() for name, limit in limits.items()}}
    return [*rows, at_zero | {"half_relative_alignment": relative_alignment(image, text).item() / 2}]


# %% [markdown]
# ## The directions


# %%
def direction(of_rows: Callable[[Tensor, Tensor], Tensor], image: Tensor, text: Tensor) -> Tensor:
    """The gradient by all rows, along the sphere, as one unit vector."""
    rows = [each.detach().clone().requires_grad_() for each in (image, text)]
    gradients = torch.autograd.grad(of_rows(*(F.normalize(each, dim=1) for each in rows)), rows)
    return F.normalize(torch.cat(gradients).flatten(), dim=0)


def directions(
    image: Tensor, text: Tensor, lam: Tensor, temperatures: Iterable[float] = TEMPERATURES
) -> list[dict[str, float]]:
    """Cosines between the gradients of the losses and of what they are said to become; a row a temperature."""
    along = lambda of_rows: direction(of_rows, image, text)  # noqa: E731
    relative = along(relative_alignment)
    hinge = along(lambda x, y: triplet(x @ y.T, y @ x.T))
    mixed_hinge = along(lambda x, y: triplet(*losses.m2_cosines(x, y, lam)))
    cross, joint = along(losses.cross_uniformity), along(uniformity_joint)
    both = along(lambda x, y: relative_alignment(x, y) + losses.cross_uniformity(x, y))
    rows = []
    for tau in temperatures:
        clip = along(lambda x, y, tau=tau: losses.contrastive(x, y, tau))
        m2 = along(lambda x, y, tau=tau: losses.m2_mix(x, y, lam, tau))
        total = along(lambda x, y, tau=tau: losses.contrastive(x, y, tau) + losses.m2_mix(x, y, lam, tau))
        apart = along(lambda x, y, tau=tau: crowding(*losses.m2_cosines(x, y, lam), tau))
        sharp = along(lambda x, y, tau=tau: losses.cross_uniformity(x, y, t=1 / (2 * tau)))
        pairs = {
            "contrastive ~ triplet": (clip, hinge),
            "contrastive ~ relative alignment": (clip, relative),
            "m2_mix ~ mixed triplet": (m2, mixed_hinge),
            "m2_mix ~ cross uniformity": (m2, cross),
            "m2_mix ~ cross uniformity, t = 1/(2 tau)": (m2, sharp),
            "m2_mix ~ joint uniformity": (m2, joint),
            "its negatives ~ joint uniformity": (apart, joint),
            "sum ~ relative alignment + cross uniformity": (total, both),
        }
        rows.append({"tau": tau, **{name: (p @ q).item() for name, (p, q) in pairs.items()}})
    return rows


# %% [markdown]
# ## The rows


# %%
def two_cones(m: int = 512, d: int = 128, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cones about two directions, matched pairs nearer than others: mean cosines 0.5 and 0.6 within, 0.15 across."""
    generator = torch.Generator().manual_seed(seed)
    drawn = lambda n: F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)  # noqa: E731
    first, second = torch.linalg.qr(drawn(2).T).Q.T
    second = 0.27 * first + math.sqrt(1 - 0.27**2) * second
    shared = drawn(m)
    x = math.sqrt(0.5) * first + math.sqrt(0.5) * shared
    y = math.sqrt(0.6) * second + math.sqrt(0.4) * F.normalize(shared + drawn(m), dim=1)
    return F.normalize(x, dim=1), F.normalize(y, dim=1)


def embedded(model: str, data: str, m: int) -> tuple[Tensor, Tensor]:
    """The first m images of a data set and the first text of each, as a model embeds them."""
    import geomclip as gc

    embeddings = gc.embed(model=model, data=data, limit=m)
    own = embeddings.image_of_text
    first = torch.full((len(embeddings.image),), len(own)).scatter_reduce(0, own, torch.arange(len(own)), "amin")
    has = first < len(own)
    return embeddings.image[has].double(), embeddings.text[first[has]].double()


def mixing_shares(m: int, *, seed: int = 0) -> Tensor:
    """λ ~ Beta(0.5, 0.5), one a row: the law of sin² of a uniform angle."""
    angle = torch.rand(m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * math.pi / 2
    return angle.sin().square()


# %%
def table(rows: list[dict[str, float]]) -> str:
    """Rows as a Markdown table; a key that a row lacks is left empty."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, ["---"] * len(keys)]
    lines += [[f"{row[key]:.4g}" if key in row else "" for key in keys] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print both tables for two cones and for a model; write them as JSON if named."""
    parser = argparse.ArgumentParser(description="What the losses become as the temperature goes to 0.")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sets = {
        "two cones": two_cones(options.pairs),
        f"{options.model} on {options.data}": embedded(options.model, options.data, options.pairs),
    }
    result = {}
    for name, (image, text) in sets.items():
        lam = mixing_shares(len(image))
        result[name] = {
            "pairs": len(image),
            "values": values(image, text, lam),
            "directions": directions(image, text, lam),
        }
        print(f"## {name}, {len(image)} pairs\n")
        print(f"{table(result[name]['values'])}\n\n{table(result[name]['directions'])}\n")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
