"""The image that shows nothing."""

import numpy as np

from ubench_utils.data.blank import LEVEL, blank_images
from ubench_utils.data.pixels import decode


def test_the_blank_image_is_blank():
    one = blank_images()
    assert set(np.unique(np.asarray(decode(one.image_bytes(0))))) == {LEVEL}
    assert one.images.image_hash.equals(blank_images().images.image_hash)
