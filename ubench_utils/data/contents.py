"""By what images are known: digests of their encoded bytes."""

from pathlib import Path

import pandas as pd

from . import pixels
from .storage import picture_bytes


def image_hashes(rows, images: pd.DataFrame, folder: Path | None) -> list[str]:
    """SHA-256 of each image's encoded bytes; an absent image gets a name that no content can have, with the reason."""
    hashes: dict[int, str] = {}
    for image, row in zip(rows["image"], images.itertuples(), strict=True):
        if row.picture in hashes:
            continue
        try:
            hashes[row.picture] = pixels.name(picture_bytes(image, folder))
        except OSError as error:
            hashes[row.picture] = f"absent: {row.dataset}/{row.image_id}: {error}"
    return [hashes[picture] for picture in images.picture]


def further_digest(encoded: list[bytes]) -> str:
    """By what the images beside the first are known, together and in their order; empty where there are none."""
    return pixels.name(b"".join(pixels.name(one).encode() for one in encoded)) if encoded else ""


def digests_of_further(cells, folder: Path | None) -> list[str]:
    """``further_digest`` of each list of image cells; of an image that is absent the reason enters it."""
    return [further_digest([_bytes_or_reason(cell, folder) for cell in of or []]) for of in cells]


def _bytes_or_reason(cell, folder: Path | None) -> bytes:
    try:
        return picture_bytes(cell, folder)
    except OSError as error:
        return f"absent: {error}".encode()
