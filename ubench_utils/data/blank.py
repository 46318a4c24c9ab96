"""An image that shows nothing, as a benchmark: what is answered to it comes from the question alone."""

import hashlib
import io

import pandas as pd
from PIL import Image

from .benchmark import Benchmark

SIDE = 224  # pixels
GREY, LEVEL = "grey", 128  # as good as black, white or noise, which a microscopist may take for an image


def blank_images() -> Benchmark:
    """An image without content, mid-grey, as a benchmark without questions."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (LEVEL,) * 3).save(file, "PNG")
    image_hash = hashlib.sha256(file.getvalue()).hexdigest()[:32]
    images = pd.DataFrame({"dataset": ["blank"], "image_id": GREY, "image_hash": image_hash, "further": ""})
    return Benchmark("blank images", [{"image": {"bytes": file.getvalue()}}], images, fingerprint="")
