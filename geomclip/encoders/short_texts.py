"""Short texts: towers that read a text up to its end token give the same rows where what follows is left out.

CLIP's text tower attends from left to right and is read at the end token, while its tokens are filled up to 77 places,
of which a caption takes about 13. Lengths are rounded up to a multiple of `PLACES`, so that the places of a text depend
on its own length alone, and not on which others it is encoded with: they move no more than the last digits of its row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PLACES = 8


def reads_to_the_end(module: torch.nn.Module) -> bool:
    """Whether it is known of this model that no place after the end token of a text changes its row."""
    from open_clip.model import CLIP

    if type(module) is not CLIP or module.text_pool_type not in ("argmax", "eos"):
        return False
    mask = module.attn_mask
    return isinstance(mask, Tensor) and bool((mask.triu(1)[torch.ones_like(mask).triu(1) > 0] == -torch.inf).all())


def lengths(module: Any, tokens: Tensor) -> Tensor:
    """Places of each text (m,) up to its end token, a multiple of `PLACES` or all."""
    if module.text_pool_type == "argmax":
        last = tokens.argmax(dim=1)
    else:
        ends = (tokens == module.text_eos_id).int()
        last = torch.where(ends.any(dim=1), ends.argmax(dim=1), tokens.shape[1] - 1)
    return (-(-(last + 1) // PLACES) * PLACES).clamp(max=tokens.shape[1])


def encode_text(module: Any, tokens: Tensor, normalize: bool = False) -> Tensor:
    """As the model's own `encode_text`, of tokens (b, l) with fewer places than it has."""
    from open_clip.transformer import text_global_pool

    places = tokens.shape[1]
    dtype = module.transformer.get_cast_dtype()
    x = module.token_embedding(tokens).to(dtype) + module.positional_embedding[:places].to(dtype)
    x = module.transformer(x, attn_mask=module.attn_mask[:places, :places])
    x = text_global_pool(module.ln_final(x), tokens, module.text_pool_type, eos_token_id=module.text_eos_id)
    projection = module.text_projection
    if projection is not None:
        x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
    return torch.nn.functional.normalize(x, dim=-1) if normalize else x
