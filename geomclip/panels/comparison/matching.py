"""Matching: which images two panels share, of which both have the same texts."""

from __future__ import annotations

from collections.abc import Sequence

from geomclip.embeddings.matching import Matched, differing, matched, text_ids
from geomclip.panels.record import Panel


def matched_images(before: Panel, after: Panel, *, intersect: bool) -> Matched:
    """The images that two panels share, of which both have the same texts; needs the items of both.

    Raises
    ------
    ValueError
        If the sets differ without `intersect`, or fewer than two images are shared.
    """
    ids = [list(panel.items["image"]["image_id"]) for panel in (before, after)]
    images = matched(ids[0], ids[1], "images")
    texts = texts_of_images(before, after)
    same = [
        row
        for row, (b, a) in enumerate(zip(images.before, images.after, strict=True))
        if texts[0].get(ids[0][b]) == texts[1].get(ids[1][a])
    ]
    if not intersect and not len(same) == len(ids[0]) == len(ids[1]):
        raise ValueError(differing(ids, len(images), "images", len(images) - len(same)))
    if len(same) < 2:
        raise ValueError(f"only {len(same)} images with the same texts are in both: nothing to compare")
    if len(same) == len(images):
        return images
    return Matched([images.before[row] for row in same], [images.after[row] for row in same], aligned=False)


def texts_of_images(before: Panel, after: Panel) -> list[dict[str, list[str]]]:
    """Of each side: the ids of the texts of each image that has any, sorted."""
    none: dict[str, Sequence[str]] = {"caption_id": (), "image_id": ()}
    tables = [panel.items.get("text") or none for panel in (before, after)]
    images = [table["image_id"] for table in tables]
    gathered: list[dict[str, list[str]]] = []
    for ids, owners in zip(text_ids([table["caption_id"] for table in tables], images), images, strict=True):
        of_image: dict[str, list[str]] = {}
        for each, image in zip(ids, owners, strict=True):
            of_image.setdefault(image, []).append(each)
        gathered.append({image: sorted(texts) for image, texts in of_image.items()})
    return gathered
