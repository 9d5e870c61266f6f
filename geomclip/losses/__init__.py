"""What training minimises: contrastive terms on geodesic mixtures, and their rivals; no randomness inside.

Rows are unit vectors of a batch of M pairs, row i of the images x matched with row i of the texts y. Every term is
the mean of its two directions, image to text and text to image: 0-d, float64 if the rows are, else float32, and
computed so even under autocast. Nothing is larger than M x M or M x D. Terms of sentences
and moments, interactions of players, and terms that hold rows to those of a base model, say their own shapes.
"""

from __future__ import annotations

from geomclip.embeddings.geometry import geodesic_mixup
from geomclip.losses.geodesic import (
    geodesic_contrastive,
    geodesic_weights,
    interaction_alignment,
    moment_alignment,
    moment_contrastive,
    shapley_alignment,
)
from geomclip.losses.interaction import (
    draw_coalitions,
    matching_value,
    pair_removal,
    sampled_interaction,
    shapley_interaction,
)
from geomclip.losses.mixup import contrastive, l_mix, m2_cosines, m2_mix, v_mix, vl_mix
from geomclip.losses.preservation import cosine_preservation, embedding_preservation, similarity_preservation
from geomclip.losses.rivals import hcl, siglip
from geomclip.losses.shape import alignment, cross_modal_consistency, cross_uniformity, in_modal_consistency, uniformity

__all__ = [
    "alignment",
    "contrastive",
    "cosine_preservation",
    "cross_modal_consistency",
    "cross_uniformity",
    "draw_coalitions",
    "embedding_preservation",
    "geodesic_contrastive",
    "geodesic_mixup",
    "geodesic_weights",
    "hcl",
    "in_modal_consistency",
    "interaction_alignment",
    "l_mix",
    "m2_cosines",
    "m2_mix",
    "matching_value",
    "moment_alignment",
    "moment_contrastive",
    "pair_removal",
    "sampled_interaction",
    "shapley_alignment",
    "shapley_interaction",
    "siglip",
    "similarity_preservation",
    "uniformity",
    "v_mix",
    "vl_mix",
]
