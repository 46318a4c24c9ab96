"""What becomes of images on their way into a generator: their size as it sees them, and their number of tokens."""

from contextlib import suppress

import numpy as np
from PIL import Image

from ...data.benchmark import Benchmark
from ...data.pixels import size
from ...engine.work import picture


def of_benchmark(speaker, benchmark: Benchmark) -> list[dict]:
    """``seen`` of the smallest and of the largest image that can be read, by area; of one where all are of one size.

    None of a benchmark whose images are changed as they are read: their sizes are not in their files.
    """
    if benchmark.changes:
        return []
    areas = {}
    for row in np.flatnonzero(~benchmark.images.image_hash.duplicated()).tolist():
        with suppress(Exception):  # whatever cannot be read is counted elsewhere
            width, height = size(benchmark.image_bytes(row))
            areas[row] = width * height
    rows = sorted(areas, key=areas.__getitem__)
    found: dict[int, dict] = {}
    for order in (rows, rows[::-1]):
        for row in order:
            with suppress(Exception):
                found.setdefault(areas[row], seen(speaker, picture(benchmark, row)))
                break
    return list(found.values())


def seen(speaker, image: Image.Image) -> dict:
    """What becomes of an image on its way into a generator.

    Parameters
    ----------
    speaker : local.Speaker
    image : PIL.Image.Image

    Returns
    -------
    dict
        ``width, height`` of the image in pixels; ``seen_width, seen_height`` as the model sees it, or each of its
        ``tiles`` (all 0 where it is given no pixels); ``tokens``, how many stand for it in the prompt, None where no
        token of the prompt does.
    """
    inputs = speaker._inputs([(image,)], ["a micrograph"])
    grid, pixels = inputs.get("image_grid_thw"), inputs.get("pixel_values")
    if pixels is None:
        tiles, height, width = 0, 0, 0
    elif grid is None:
        height, width = pixels.shape[-2:]
        tiles = pixels.numel() // (pixels.shape[-3] * height * width)
    else:  # patches in a row, as Qwen's are
        tiles, (height, width) = 1, (speaker.processor.image_processor.patch_size * side for side in grid[0, 1:])
    config = speaker.network.config
    names = ("image_token_id", "image_token_index")
    token = next((found for name in names if (found := getattr(config, name, None)) is not None), None)
    tokens = None if token is None else int((inputs["input_ids"] == token).sum())
    return {
        "width": image.width,
        "height": image.height,
        "seen_width": int(width),
        "seen_height": int(height),
        "tiles": int(tiles),
        "tokens": tokens or None,
    }
