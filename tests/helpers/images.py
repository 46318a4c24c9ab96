"""Image files written byte by byte, where Pillow cannot write what a microscope or a camera does."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from ubench_utils.data.pixels import decode, size

GREY, COLOUR = (np.random.default_rng(0).integers(0, 65536, (6, 5, n)).astype(np.uint16) for n in (1, 3))
FLAT = np.zeros((32, 48, 3), np.uint8)  # blocks, which lossy formats keep; no symmetry
FLAT[:16, :24], FLAT[16:, 24:], FLAT[:8, 40:] = (200, 30, 30), (20, 60, 220), 255


def scaled(values, top=65535):
    """8 bits of larger values, as RGB."""
    grey = np.round(values / (top / 255)).astype(np.uint8)
    return np.broadcast_to(grey, (*grey.shape[:2], 3))


def found(encoded):
    """What a file was found to be."""
    return decode(encoded).info["found"]


def check(encoded, expected, tolerance=0):
    """Check that pixels and size are as expected."""
    image = decode(encoded)
    assert image.mode == "RGB" and image.size == size(encoded)
    assert image.size == (image.info["found"]["width"], image.info["found"]["height"])
    np.testing.assert_allclose(np.asarray(image).astype(int), np.asarray(expected).astype(int), atol=tolerance)


def saved(image, format_, **options) -> bytes:
    """Encode an image or an array with Pillow."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format_, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_file(samples, bits=16, before=b"", after=b"") -> bytes:
    """Encode samples, shape (height, width, 1 to 4), as a PNG; more chunks before and after the pixels."""
    height, width, n = samples.shape
    kind = {1: 0, 3: 2, 2: 4, 4: 6}[n]
    single = (samples.reshape(height, -1, 1).astype(">u2") >> np.arange(bits)[::-1]) & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in single.astype(bool))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows)), after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def page(samples, photometric=None, tags=(), order="<", planar=False, deflate=False):
    """One page of a TIFF for ``tiff``: pixels of shape (height, width, n) and their tags."""
    height, width, n = samples.shape
    samples = samples.astype(samples.dtype.newbyteorder(order))
    planes = [samples[..., at] for at in range(n)] if planar else [samples]
    strips = [zlib.compress(plane.tobytes()) if deflate else plane.tobytes() for plane in planes]
    photometric = (1 if n < 3 else 2) if photometric is None else photometric
    known = {
        256: width,
        257: height,
        258: (8 * samples.itemsize,) * n,
        259: 8 if deflate else 1,
        262: photometric,
        277: n,
        278: height,
        284: 2 if planar else 1,
    }
    return strips, {**known, **dict(tags)}, order


def tiff(*pages) -> bytes:
    """Write a TIFF of pages from ``page``; a tag is a whole number, several, a text that ends in a zero, or bytes."""
    order = pages[0][2]
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for strips, tags, _ in pages:
        starts = []
        for strip in strips:
            starts.append(len(out))
            out += strip
        entries = []
        for tag, value in sorted({**tags, 273: tuple(starts), 279: tuple(map(len, strips))}.items()):
            if isinstance(value, bytes):
                kind, n, content = 2 if value.endswith(b"\0") else 1, len(value), value
            else:
                values = value if isinstance(value, tuple) else (value,)
                kind, n, content = 4, len(values), struct.pack(f"{order}{len(values)}I", *values)
            if len(content) > 4:
                content, place = struct.pack(f"{order}I", len(out)), content
                out += place
            entries.append(struct.pack(f"{order}HHI", tag, kind, n) + content.ljust(4, b"\0"))
        out += bytes(len(out) % 2)
        out[link : link + 4] = struct.pack(f"{order}I", len(out))
        out += struct.pack(f"{order}H", len(entries)) + b"".join(entries)
        link = len(out)
        out += bytes(4)
    return bytes(out)
