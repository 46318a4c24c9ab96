"""Shapes to place in a 64 x 64 field, and three instruments to look at them.

`brightfield` absorbs light, `fluoresce` emits it, `electrons` is grey and dark where dense. They add what
makes real images vary: stain colour, illumination, exposure, defocus, noise, a grey camera. Lengths are
pixels from the middle of the frame, angles radians.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE = 64  # pixels a side
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2  # pixel centres, origin in the middle
_WAVES = np.cos(np.pi * np.arange(32)[None, :] * (np.arange(SIZE)[:, None] + 0.5) / SIZE).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- shapes


def product(a, b):
    """Matrix product in float32, term by term, each sum rounded once: `@` adds up otherwise on other processors."""
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for column, row in zip(a.T.astype(np.float64), b.astype(np.float64), strict=True):
        total = (total + column[:, None] * row).astype(np.float32)
    return total


def texture(rng, waves):
    """Smooth random field (64, 64), mean 0 and standard deviation 1; up to `waves` half periods across."""
    basis = _WAVES[:, :waves]
    field = product(product(basis, rng.standard_normal((waves, waves), dtype=np.float32)), basis.T)
    field -= field.mean()
    return field / (field.std() + 1e-6)


def spread(rng, spacing, jitter=0.25):
    """Positions (x, y) over the frame: a turned hexagonal lattice, each point moved by `jitter` spacings."""
    reach = int(46 / spacing) + 2
    row, column = (g.ravel() for g in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    points = ((column + 0.5 * (row % 2)) + 0.866j * row) * spacing * np.exp(1j * rng.uniform(0, np.pi))
    points = points + spacing * jitter * (rng.standard_normal(len(row)) + 1j * rng.standard_normal(len(row)))
    points = points + spacing * (rng.uniform(-0.5, 0.5) + 1j * rng.uniform(-0.5, 0.5))
    inside = np.maximum(abs(points.real), abs(points.imag)) < 38
    return points.real[inside], points.imag[inside]


def blobs(rng, x, y, radius, aspect=1.0, angle=0.0, wobble=0.0):
    """Distance from each of n centres in units of its outline, (n, 64, 64): 1 on it, less inside."""
    x, y, radius, aspect, angle = (
        np.asarray(a, np.float32)[..., None, None]
        for a in np.broadcast_arrays(np.atleast_1d(x), y, radius, aspect, angle)
    )
    dx, dy, stretch = X - x, Y - y, np.sqrt(aspect)
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / (radius * stretch)
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / (radius / stretch)
    rho = np.sqrt(u * u + v * v) + 1e-6
    if wobble:
        turn = (u + 1j * v) / rho
        power, bump = turn, 1.0
        for order in (2, 3, 4):
            power = power * turn
            weight = (rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)) * wobble / order
            bump = bump + (power * weight.astype(np.complex64)).real
        rho = rho / np.maximum(bump, 0.3)
    return rho


def fill(rho, radius, edge=1.2):
    """Filled outlines with a soft edge of `edge` pixels, values 0 to 1."""
    radius = np.asarray(radius, np.float32).reshape(-1, 1, 1) if np.ndim(radius) else radius
    return np.clip((1 - rho) * radius / edge + 0.5, 0, 1)


def rim(rho, radius, width):
    """A line of about `width` pixels along the outlines, values 0 to 1."""
    radius = np.asarray(radius, np.float32).reshape(-1, 1, 1) if np.ndim(radius) else radius
    return np.exp(-(((rho - 1) * radius / width) ** 2))


def spots(x, y, sigma, height=1.0):
    """Sum of Gaussian spots, (64, 64)."""
    x, y, sigma, height = (np.asarray(a, np.float32)[:, None] for a in np.broadcast_arrays(x, y, sigma, height))
    down = np.exp(-(((Y[:, 0] - y) / sigma) ** 2) / 2) * height
    across = np.exp(-(((X[0] - x) / sigma) ** 2) / 2)
    return product(down.T, across)


def dots(x, y, radius):
    """Distance from the nearest of many small dots in units of its radius, (64, 64); merges those that touch.

    The logarithm of a sum of narrow Gaussians, which is separable: quicker than `blobs` for dozens of nuclei.
    """
    return np.sqrt(np.maximum(-np.log(spots(x, y, np.asarray(radius) / 2.146) + 1e-30), 0) / 2.303)


def walls(x, y, width):
    """Lines half way between neighbouring centres, values 0 to 1, and each pixel's cell number (Voronoi)."""
    squared = ((X[0] - np.float32(x)[:, None]) ** 2)[:, None] + ((Y[:, 0] - np.float32(y)[:, None]) ** 2)[..., None]
    first = squared.min(0)
    owner = squared.argmin(0)
    np.put_along_axis(squared, owner[None], np.inf, 0)
    return np.exp(-(((np.sqrt(squared.min(0)) - np.sqrt(first)) / (2 * width)) ** 2)), owner


def stripes(rng, period, waviness):
    """Wavy stripes, (64, 64), -1 to 1, with the direction along them (radians)."""
    angle = rng.uniform(0, np.pi)
    across = -X * np.sin(angle) + Y * np.cos(angle) + waviness * texture(rng, 4)
    return np.sin(2 * np.pi * across / period + rng.uniform(0, 6.3)), angle


def polar(rng, n, low, high):
    """n points around the centre, at random angles and radius `low` to `high`."""
    turn = rng.uniform(0, 6.3, n)
    r = rng.uniform(low, high, n)
    return r * np.cos(turn), r * np.sin(turn)


# ----------------------------------------------------------------------------------------------- instruments


def brightfield(rng, layers):
    """Absorption: `layers` lists (density (64, 64), colour seen through density 1); uint8 (64, 64, 3)."""
    optical = np.zeros((SIZE, SIZE, 3), np.float32)
    for density, colour in layers:
        colour = np.clip(np.float32(colour) + rng.normal(0, 0.035, 3).astype(np.float32), 0.03, 0.99)
        optical -= density[..., None] * np.log(colour) * np.float32(rng.uniform(0.7, 1.4))
    return light(rng, np.exp(-optical))


def light(rng, image):
    """Lamp and camera of a light microscope: tint, uneven light, exposure, defocus, noise, grey; uint8."""
    image = image * (np.float32(1) - np.abs(rng.normal(0, 0.05, 3)).astype(np.float32))
    image = image * (1 + np.float32(rng.uniform(0, 0.10)) * texture(rng, 3))[..., None]
    image = image * np.float32(rng.uniform(0.3, 0.5) if rng.random() < 0.12 else rng.uniform(0.82, 1.0))
    if rng.random() < 0.12:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    return expose(rng, image, blur=rng.uniform(0, 1.1), noise=rng.uniform(0.01, 0.05))


def fluoresce(rng, channels):
    """Emission: `channels` is a list of (intensity (64, 64), RGB colour); returns uint8 (64, 64, 3).

    A third of the fields come from a grey camera, and some of those are printed inverted, dark on white.
    """
    gain, veil = rng.uniform(0.45, 1.1), rng.uniform(0, 0.14)
    grey, inverted = rng.random() < 0.35, rng.random() < 0.2
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    for intensity, colour in channels:
        intensity = np.clip(intensity, 0, 1.5) * gain * rng.uniform(0.8, 1.2) + veil
        shot = rng.standard_normal((SIZE, SIZE), dtype=np.float32) * np.sqrt(0.002 + 0.012 * intensity)
        image += (intensity + shot)[..., None] * np.float32((1, 1, 1) if grey else colour)
    if grey:
        image /= len(channels) ** 0.5
        image = 0.95 - 0.9 * image if inverted else image
    return expose(rng, image, blur=rng.uniform(0, 1.2), noise=0.012)


def electrons(rng, density):
    """Electron density (64, 64), 0 empty to 1 black; grey uint8 (64, 64, 3), at times pale."""
    level = rng.uniform(0.78, 0.95) if rng.random() < 0.12 else rng.uniform(0.5, 0.75)
    image = level - rng.uniform(0.35, 0.75) * (density - 0.3) + rng.uniform(0, 0.05) * texture(rng, 3)
    image = gaussian_filter(image.astype(np.float32), rng.uniform(0, 1.0))
    image = image + rng.standard_normal((SIZE, SIZE), dtype=np.float32) * rng.uniform(0.02, 0.10)
    return expose(rng, np.repeat(image[..., None], 3, -1), blur=0, noise=0)


def expose(rng, image, blur, noise):
    """Defocus by `blur` pixels, add camera noise and digitise to uint8."""
    if blur > 0.25:
        image = gaussian_filter(image, (blur, blur, 0))
    if noise:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
