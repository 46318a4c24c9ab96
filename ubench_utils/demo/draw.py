"""A procedural microscope: 64 x 64 RGB micrographs of ten invented specimens, drawn with numpy.

Each `draw_*` function places one specimen and looks at it through an instrument of `optics`. Ranges are wide
and classes overlap on purpose, so that no task is trivial. Nothing here is a real image or derived from one.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from .optics import (
    X,
    Y,
    blobs,
    brightfield,
    dots,
    electrons,
    fill,
    fluoresce,
    light,
    polar,
    rim,
    spots,
    spread,
    stripes,
    texture,
    walls,
)

# --------------------------------------------------------------------------------- specimens: cells in colour


def draw_blood_smear(rng, kind):
    """Giemsa: one white cell among red cells."""
    cx, cy = rng.normal(0, 3, 2)
    size = {"lymphocyte": rng.uniform(9, 13), "monocyte": rng.uniform(14, 18)}.get(kind, rng.uniform(12, 16))
    x, y = spread(rng, rng.uniform(14, 19), 0.2)
    away = np.hypot(x - cx, y - cy) > size + 7
    r = rng.uniform(6, 8)
    red = blobs(rng, x[away], y[away], r, rng.uniform(1, 1.2, away.sum()), rng.uniform(0, 3, away.sum()))
    red = (fill(red, r) * (0.6 + 0.4 * np.minimum(red, 1))).max(0, initial=0)
    cell = blobs(rng, cx, cy, size, rng.uniform(1, 1.15), rng.uniform(0, 3), 0.05)[0]
    body = fill(cell, size)
    if kind == "lymphocyte":
        nucleus = fill(blobs(rng, cx, cy, size * rng.uniform(0.75, 0.9), 1.1, 0, 0.05)[0], size)
    elif kind == "monocyte":
        turn = rng.uniform(0, 6.3)
        bay = size * rng.uniform(0.45, 0.8)
        nucleus = fill(blobs(rng, cx, cy, size * 0.68, 1.15, turn + 1.6, 0.08)[0], size)
        notch = blobs(rng, cx + bay * np.cos(turn), cy + bay * np.sin(turn), size * 0.38)[0]
        nucleus = nucleus * (1 - fill(notch, 6))
    else:
        lobes = {"neutrophil": rng.integers(3, 6), "eosinophil": rng.integers(2, 4), "basophil": 2}[kind]
        turn = rng.uniform(0, 6.3) + rng.uniform(0.8, 1.3) * np.arange(lobes)
        r = size * rng.uniform(0.28, 0.36)
        lobe = blobs(rng, cx + 0.45 * size * np.cos(turn), cy + 0.45 * size * np.sin(turn), r, 1.2, turn)
        nucleus = fill(lobe, r, 2.5).max(0) * body
    n = {"eosinophil": 45, "basophil": 45, "neutrophil": 25}.get(kind, 1)
    gx, gy = polar(rng, n, 0, size * 0.9)
    grain = np.minimum(spots(gx + cx, gy + cy, rng.uniform(0.7, 1.1)), 1) * body
    grain *= {"eosinophil": 1.0, "basophil": 1.2, "neutrophil": 0.35}.get(kind, 0)
    pink = (0.93, 0.84, 0.90)
    cytoplasm = {"lymphocyte": (0.66, 0.78, 0.93), "monocyte": (0.72, 0.74, 0.86)}.get(kind, pink)
    granule = {"eosinophil": (0.90, 0.45, 0.30), "basophil": (0.30, 0.22, 0.55)}.get(kind, (0.75, 0.5, 0.75))
    return brightfield(
        rng,
        [
            (red, (0.90, 0.58, 0.62)),
            (body, cytoplasm),
            (grain, granule),
            (nucleus * (1 + 0.12 * texture(rng, 20)), (0.38, 0.22, 0.58)),
        ],
    )


def draw_pap_smear(rng, kind):
    """Papanicolaou: one squamous cell, graded by its nucleus, among flat neighbours."""
    size, inner, aspect, wobble = {
        "normal squamous cell": (rng.uniform(18, 27), rng.uniform(2.5, 4.2), 1.2, 0.12),
        "low grade lesion": (rng.uniform(17, 25), rng.uniform(4.2, 6.5), 1.2, 0.12),
        "high grade lesion": (rng.uniform(11, 16), rng.uniform(6, 8.5), 1.15, 0.12),
        "squamous cell carcinoma": (rng.uniform(13, 18), rng.uniform(4.5, 7), rng.uniform(1.8, 3), 0.3),
    }[kind]
    cx, cy = rng.normal(0, 3, 2)
    turn = rng.uniform(0, 3.1)
    body = fill(blobs(rng, cx, cy, size, aspect, turn, wobble)[0], size)
    centre = blobs(rng, cx, cy, inner, aspect**0.6, turn, wobble)[0]
    halo = rng.uniform(0.5, 0.95) if kind == "low grade lesion" and rng.random() < 0.8 else 0
    body = body * (1 - halo * fill(centre / rng.uniform(1.7, 2.2), inner, 0.8))
    nx, ny = polar(rng, rng.integers(1, 5), 26, 42)
    others = blobs(rng, nx, ny, rng.uniform(12, 20), 1.3, rng.uniform(0, 3, len(nx)), 0.12)
    small = fill(dots(nx, ny, 3.0), 3)
    dirt = np.maximum(texture(rng, 30) - 2.2 + (0.7 if kind == "squamous cell carcinoma" else 0), 0)
    hues = [(0.93, 0.62, 0.70), (0.60, 0.82, 0.80), (0.78, 0.70, 0.88), (0.96, 0.68, 0.45)]
    hue = hues[3] if kind == "squamous cell carcinoma" and rng.random() < 0.5 else hues[rng.integers(3)]
    return brightfield(
        rng,
        [
            (fill(others, 14).max(0) * 0.7, hues[rng.integers(3)]),
            (small, (0.5, 0.45, 0.6)),
            (body, hue),
            (dirt * 0.4, (0.4, 0.35, 0.45)),
            (fill(centre, inner) * (1 + 0.2 * texture(rng, 24)), (0.30, 0.25, 0.48)),
        ],
    )


def draw_colon(rng, kind):
    """H&E sections of the large bowel."""
    pink, purple = (0.90, 0.62, 0.76), (0.38, 0.28, 0.60)
    if kind == "adipose tissue":
        wall, _ = walls(*spread(rng, rng.uniform(17, 26), 0.25), rng.uniform(0.6, 1.4))
        x, y = rng.uniform(-32, 32, (2, 4))
        return brightfield(rng, [(wall * rng.uniform(0.7, 1.3), pink), (spots(x, y, 1.3) * wall, purple)])
    if kind == "smooth muscle":
        fibre, turn = stripes(rng, rng.uniform(6, 12), rng.uniform(1, 4))
        x, y = spread(rng, rng.uniform(11, 15), 0.35)
        nuclei = fill(blobs(rng, x, y, rng.uniform(1.8, 2.5), rng.uniform(3, 6), turn + rng.normal(0, 0.15, len(x))), 2)
        return brightfield(rng, [(0.8 + 0.35 * fibre, pink), (nuclei.max(0) * 0.9, purple)])
    if kind == "lymphoid tissue":
        x, y = spread(rng, rng.uniform(6.5, 8.5), 0.22)
        r = rng.uniform(2.3, 3.1)
        nuclei = fill(dots(x, y, r * rng.uniform(0.85, 1.15, len(x))), r)
        return brightfield(rng, [(0.45 + 0.1 * texture(rng, 8), pink), (nuclei * 0.95, purple)])
    cancer = kind == "adenocarcinoma"
    spacing = rng.uniform(20, 29)
    x, y = spread(rng, spacing, 0.22 if cancer else 0.08)
    r = spacing * rng.uniform(0.38, 0.46)
    gland = blobs(
        rng,
        x,
        y,
        r,
        rng.uniform(1, 1.6 if cancer else 1.3, len(x)),
        rng.uniform(0, 3, len(x)),
        rng.uniform(0.2, 0.42) if cancer else 0,
    )
    lumen = fill(gland / rng.uniform(0.3, 0.5), r / 2).max(0)
    depth, thick = (0.74, rng.uniform(1.8, 2.8)) if cancer else (0.86, rng.uniform(1.2, 1.9))
    layer = rim(gland / depth, r, thick).max(0)
    x, y = spread(rng, rng.uniform(7, 10), 0.4)
    stroma = fill(dots(x, y, 1.6), 1.6) * (gland.min(0) > 1.1)
    chromatin = layer * np.clip(0.75 + 0.4 * texture(rng, 26), 0, 1.3) + 0.7 * stroma
    return brightfield(rng, [((1 - lumen) * (0.6 + 0.12 * texture(rng, 10)), pink), (chromatin, purple)])


# ------------------------------------------------------------------------------ specimens: unstained cultures


def culture(rng, kind):
    """Height of a cell layer (64, 64) for one confluence."""
    spacing = rng.uniform(11, 17)
    x, y = spread(rng, spacing, 0.22)
    share = {
        "sparse culture": rng.uniform(0.08, 0.3),
        "subconfluent culture": rng.uniform(0.4, 0.68),
        "confluent culture": rng.uniform(0.88, 1),
    }[kind]
    keep = rng.random(len(x)) < share
    keep[np.hypot(x, y).argmin()] = True  # never an empty field
    n, r = keep.sum(), spacing * rng.uniform(0.42, 0.52)
    cell = blobs(rng, x[keep], y[keep], r, rng.uniform(1, 2, n), rng.uniform(0, 3, n))
    dome = np.sqrt(np.clip(1.05 - cell * cell, 0, 1)).max(0)
    return dome + 0.25 * np.exp(-((cell * r / 2.2) ** 2)).max(0)


def draw_phase_contrast(rng, kind):
    """Phase contrast: dark cells in bright halos."""
    height = culture(rng, kind)
    halo = gaussian_filter(height, rng.uniform(2, 4)) - height
    image = 0.5 + rng.uniform(0.25, 0.6) * halo + 0.03 * texture(rng, 24)
    tint = 1 - rng.uniform(0, 0.25, 3) * (rng.random() < 0.5)
    return light(rng, image[..., None] * np.float32(tint))


def draw_interference_contrast(rng, kind):
    """Differential interference contrast: relief lit from one side."""
    height = gaussian_filter(culture(rng, kind) + 0.05 * texture(rng, 28), 0.8)
    turn = rng.uniform(0, 6.3)
    slope_y, slope_x = np.gradient(height)
    image = 0.5 + rng.uniform(0.6, 1.6) * (np.cos(turn) * slope_x + np.sin(turn) * slope_y)
    tint = 1 - rng.uniform(0, 0.25, 3) * (rng.random() < 0.5)
    return light(rng, image[..., None] * np.float32(tint))


# --------------------------------------------------------------------------------- specimens: fluorescence

GREEN, RED, BLUE, MAGENTA = (0.1, 1.0, 0.15), (1.0, 0.15, 0.1), (0.15, 0.25, 1.0), (1.0, 0.1, 1.0)


def draw_mitosis(rng, kind):
    """H2B-mCherry: the chromatin of one large cell, at times with a resting neighbour at the edge."""
    cx, cy = rng.normal(0, 2.5, 2)
    turn = rng.uniform(0, 3.1)
    along, side = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    haze = 0.12 * fill(blobs(rng, cx, cy, 24, 1.1, turn, 0.05)[0], 24, 8)
    r = rng.uniform(11, 15)
    if kind in ("interphase", "prophase"):
        body = fill(blobs(rng, cx, cy, r, rng.uniform(1, 1.4), turn, 0.05)[0], r)
        if kind == "interphase":
            nx, ny = polar(rng, rng.integers(1, 4), 2, 0.6 * r)
            chromatin = body * (0.55 + 0.07 * texture(rng, 16)) - 0.3 * spots(nx + cx, ny + cy, 2.0)
        else:
            threads = np.abs(texture(rng, rng.integers(16, 24)))
            chromatin = body * np.clip(1.15 - 1.1 * threads, 0.1, 1.1)
    elif kind == "metaphase":
        plate = blobs(rng, cx, cy, rng.uniform(6, 8.5), rng.uniform(2.5, 4.5), turn, 0.1)[0]
        chromatin = fill(plate, 7, 2) * (1 + 0.1 * texture(rng, 20))
    elif kind == "anaphase":
        half = rng.uniform(5, 10) * side
        pair = blobs(
            rng,
            cx + half[0] * np.array([1, -1]),
            cy + half[1] * np.array([1, -1]),
            rng.uniform(5, 6.5),
            rng.uniform(2, 3.5),
            turn + rng.normal(0, 0.12, 2),
            0.1,
        )
        chromatin = fill(pair, 6, 2).max(0) * (1 + 0.1 * texture(rng, 20))
    else:  # apoptosis: bright round fragments of many sizes
        fx, fy = polar(rng, rng.integers(5, 11), 1, r)
        fr = rng.uniform(1.3, 4.5, len(fx))
        chromatin = fill(blobs(rng, cx + fx, cy + fy, fr), fr, 1.5).max(0) * 1.1
    if rng.random() < 0.5:
        nx, ny = polar(rng, 1, 34, 40)
        chromatin = np.maximum(chromatin, fill(blobs(rng, nx, ny, 12, 1.2, along[0]), 12)[0] * 0.5)
    return fluoresce(rng, [(np.maximum(haze, chromatin), RED)])


def draw_colocalization(rng, kind):
    """Two labelled molecules: how many spots of one coincide with a spot of the other."""
    share = {
        "no colocalization": rng.uniform(0, 0.12),
        "partial colocalization": rng.uniform(0.38, 0.62),
        "complete colocalization": rng.uniform(0.88, 1),
    }[kind]
    n = rng.integers(12, 28)
    x, y = rng.uniform(-28, 28, (2, n))
    joined = rng.permutation(n) < round(share * n)
    shift = rng.normal(0, 0.5, (2, n))
    x2 = np.where(joined, x + shift[0], rng.uniform(-28, 28, n))
    y2 = np.where(joined, y + shift[1], rng.uniform(-28, 28, n))
    sigma = rng.uniform(1.2, 1.9)
    cell = rng.uniform(0, 0.18) * fill(blobs(rng, 0, 0, 27, 1.2, rng.uniform(0, 3), 0.12)[0], 27, 3)
    first = np.minimum(spots(x, y, sigma, rng.uniform(0.6, 1, n)), 1) + cell
    second = np.minimum(spots(x2, y2, sigma, rng.uniform(0.6, 1, n)), 1) + cell
    colour = RED if rng.random() < 0.6 else MAGENTA
    return fluoresce(rng, [(first, GREEN), (second, colour)])


def draw_protein_localization(rng, kind):
    """EGFP: one protein in one cell, by the compartment it fills."""
    cx, cy = rng.normal(0, 2, 2)
    size, turn = rng.uniform(21, 27), rng.uniform(0, 3.1)
    outline = blobs(rng, cx, cy, size, rng.uniform(1, 1.5), turn, 0.16)[0]
    nx, ny = cx + rng.normal(0, 3), cy + rng.normal(0, 3)
    r = rng.uniform(8, 11)
    hollow = blobs(rng, nx, ny, r, rng.uniform(1, 1.3), turn, 0.04)[0]
    cell, nucleus = fill(outline, size, 2), fill(hollow, r, 1.5)
    faint = rng.uniform(0.04, 0.22) * cell
    if kind == "nucleoplasm":
        signal = nucleus * (0.75 + 0.08 * texture(rng, 14))
    elif kind == "nucleoli":
        px, py = polar(rng, rng.integers(1, 5), 0, 0.65 * r)
        signal = np.minimum(spots(nx + px, ny + py, rng.uniform(1.4, 2.4, len(px))), 1)
        signal = signal + rng.uniform(0.05, 0.3) * nucleus
    elif kind == "mitochondria":
        thread = np.clip(1 - 2.2 * np.abs(texture(rng, rng.integers(14, 22))), 0, 1)
        signal = thread * cell * (1 - nucleus) * np.clip(1.5 - outline, 0.2, 1)
    elif kind == "plasma membrane":
        signal = rim(outline, size, rng.uniform(1.0, 2.0)) + 0.1 * cell
    else:  # Golgi apparatus: a patch of ribbons on one side of the nucleus
        side = rng.uniform(0, 6.3)
        gx, gy = nx + (r + 3) * np.cos(side), ny + (r + 3) * np.sin(side)
        patch = np.exp(-((np.hypot(X - gx, Y - gy) / rng.uniform(4, 6.5)) ** 2))
        signal = patch * np.clip(1.4 - 1.2 * np.abs(texture(rng, 24)), 0, 1.3)
    return fluoresce(rng, [(np.maximum(signal, faint), GREEN)])


def draw_tissue_fluorescence(rng, kind):
    """Cryosections: nuclei in blue, one structural label in a second colour."""
    colour = (GREEN, RED, MAGENTA)[rng.integers(3)]
    if kind == "skeletal muscle":
        wall, _ = walls(*spread(rng, rng.uniform(13, 20), 0.2), rng.uniform(0.7, 1.2))
        x, y = spread(rng, 9, 0.4)
        nuclei = fill(dots(x, y, 2.0), 2) * (wall > 0.3)
        return fluoresce(rng, [(wall * 0.9 + 0.1, colour), (nuclei, BLUE)])
    if kind == "cerebral cortex":
        x, y = spread(rng, rng.uniform(17, 24), 0.3)
        r = rng.uniform(3.2, 4.5)
        soma = blobs(rng, x, y, r, rng.uniform(1, 1.6, len(x)), rng.uniform(0, 3, len(x)), 0.15)
        fibres = np.clip(1 - 4 * np.abs(texture(rng, 13)), 0, 1) * rng.uniform(0.25, 0.5)
        gx, gy = spread(rng, 15, 0.4)
        nuclei = fill(dots(np.r_[gx, x], np.r_[gy, y], 2.3), 2.3)
        return fluoresce(rng, [(np.maximum(fill(soma, r).max(0), fibres), colour), (nuclei * 0.7, BLUE)])
    if kind == "intestinal villi":
        band, _ = stripes(rng, rng.uniform(20, 28), rng.uniform(2, 4))
        core = np.clip(band * 3 + 1, 0, 1)
        x, y = spread(rng, 5, 0.2)
        nuclei = fill(dots(x, y, 1.8), 1.8) * np.exp(-(((band - 0.15) / 0.4) ** 2))
        return fluoresce(rng, [(core * 0.35 + 0.6 * np.exp(-(((band + 0.4) / 0.18) ** 2)), colour), (nuclei, BLUE)])
    spacing = rng.uniform(18, 25)  # kidney tubules: rings of cells round a dark lumen
    x, y = spread(rng, spacing, 0.12)
    r = spacing * rng.uniform(0.4, 0.47)
    tube = blobs(rng, x, y, r, rng.uniform(1, 1.7, len(x)), rng.uniform(0, 3, len(x)))
    epithelium = (fill(tube, r) * (1 - fill(tube / 0.45, r / 2))).max(0)
    gx, gy = spread(rng, 5.5, 0.25)
    nuclei = fill(dots(gx, gy, 1.8), 1.8) * rim(tube / 0.72, r, 2).max(0)
    return fluoresce(rng, [(epithelium * 0.6 + 0.4 * rim(tube, r, 1.0).max(0), colour), (nuclei, BLUE)])


# ----------------------------------------------------------------------------- specimens: electron microscopy


def draw_organelle(rng, kind):
    """Transmission electron microscopy: one organelle in granular cytoplasm."""
    (cx, cy), turn = rng.normal(0, 3, 2), rng.uniform(0, 3.1)
    ground = 0.3 + 0.05 * texture(rng, 12) + 0.07 * texture(rng, 32)
    if kind == "mitochondrion":
        r, aspect = rng.uniform(11, 17), rng.uniform(1.2, 2.2)
        body = blobs(rng, cx, cy, r, aspect, turn, 0.05)[0]
        along = X * np.cos(turn) + Y * np.sin(turn) + 1.2 * texture(rng, 5)
        cristae = np.clip(np.sin(2 * np.pi * along / rng.uniform(5, 8)) * 1.5, 0, 1) * fill(body / 0.86, r)
        inside = fill(body, r)
        density = ground * (1 - inside) + inside * 0.38 + 0.4 * cristae + 0.5 * rim(body, r, 1.2)
    elif kind == "cell nucleus":
        r = rng.uniform(18, 27)
        body = blobs(rng, cx * 2.5, cy * 2.5, r, rng.uniform(1, 1.4), turn, 0.08)[0]
        clumps = np.clip(texture(rng, rng.integers(9, 14)), 0, 1.5) * 0.28
        clumps = clumps + 0.25 * np.exp(-(((body - 0.9) / 0.1) ** 2))
        inside = fill(body, r)
        density = ground * (1 - inside) + inside * (0.28 + clumps) + 0.4 * rim(body, r, 1.0)
    elif kind == "endoplasmic reticulum":
        sheet, _ = stripes(rng, rng.uniform(6, 10), rng.uniform(1, 2.5))
        patch = fill(blobs(rng, cx, cy, rng.uniform(22, 30), rng.uniform(1, 1.8), turn, 0.1)[0], 24, 6)
        membrane = np.exp(-((np.abs(sheet) / 0.35) ** 2))
        density = ground + patch * (0.45 * membrane * (1 + 0.25 * texture(rng, 32)) - 0.08)
    elif kind == "multivesicular body":
        r = rng.uniform(13, 19)
        body = blobs(rng, cx, cy, r, rng.uniform(1, 1.25), turn, 0.06)[0]
        x, y = spread(rng, rng.uniform(6, 8), 0.2)
        near = np.hypot(x - cx, y - cy) < r - 3
        vesicle = rim(dots(x[near], y[near], 2.4), 2.4, 0.9)
        inside = fill(body, r)
        density = ground * (1 - inside) + inside * (0.15 + 0.5 * vesicle) + 0.45 * rim(body, r, 1.1)
    else:  # lysosome: round, dense, patchy
        n = rng.integers(1, 4)
        x, y = polar(rng, n, 0, 4 if n == 1 else 18)
        r = rng.uniform(6, 12, n)
        body = fill(blobs(rng, x, y, r, rng.uniform(1, 1.4, n), turn, 0.08), r).max(0)
        density = ground * (1 - body) + body * (0.75 + 0.12 * texture(rng, 10))
    return electrons(rng, density)


def draw_tissue_electron(rng, kind):
    """Serial block-face scanning electron microscopy: four tissues at low magnification."""
    grain = 0.05 * texture(rng, 32)
    if kind == "striated muscle":
        band, turn = stripes(rng, rng.uniform(10, 16), rng.uniform(0.5, 2))
        along = X * np.cos(turn) + Y * np.sin(turn) + 2 * texture(rng, 4)
        fibril = np.cos(2 * np.pi * along / rng.uniform(12, 20))
        line = np.exp(-(((band - 1) / 0.12) ** 2))
        density = 0.35 + 0.15 * band + 0.35 * line - 0.2 * np.clip(fibril - 0.7, 0, 1) / 0.3
        return electrons(rng, density + grain)
    if kind == "myelinated nerve":
        spacing = rng.uniform(13, 20)
        x, y = spread(rng, spacing, 0.13)
        r = spacing * rng.uniform(0.28, 0.42, len(x))
        axon = blobs(rng, x, y, r, rng.uniform(1, 1.5, len(x)), rng.uniform(0, 3, len(x)), 0.12)
        myelin = rim(axon, r, rng.uniform(1.2, 2.2)).max(0)
        return electrons(rng, 0.35 - 0.15 * fill(axon, r).max(0) + 0.6 * myelin + grain)
    x, y = spread(rng, rng.uniform(6, 10), 0.35)
    wall, owner = walls(x, y, rng.uniform(0.5, 0.8))
    shade = rng.normal(0, 0.06, len(x)).astype(np.float32)[owner]
    r = rng.uniform(1.8, 2.6)
    mx, my = spread(rng, 17, 0.4)
    density = 0.25 + shade + 0.45 * wall + 0.3 * fill(dots(mx, my, r), r)
    if kind == "capillary":
        r = rng.uniform(11, 19)
        vessel = blobs(rng, *rng.normal(0, 5, 2), r, rng.uniform(1, 1.5), rng.uniform(0, 3), 0.08)[0]
        lumen = fill(vessel, r)
        density = density * (1 - lumen) + 0.05 * lumen + 0.4 * rim(vessel, r, 1.6)
        if rng.random() < 0.4:  # a red cell inside
            density = density + 0.65 * fill(vessel / 0.5, r / 2)
    return electrons(rng, density + grain)


# What to draw for a sub-dataset and the instrument it was seen through.
SPECIMENS = {
    ("demo_organelle_tem", "transmission electron microscopy"): draw_organelle,
    ("demo_protein_localization", "confocal microscopy"): draw_protein_localization,
    ("demo_colocalization", "confocal microscopy"): draw_colocalization,
    ("demo_blood_smear", "brightfield microscopy"): draw_blood_smear,
    ("demo_pap_smear", "brightfield microscopy"): draw_pap_smear,
    ("demo_mitosis", "epifluorescence microscopy"): draw_mitosis,
    ("demo_confluence", "phase contrast microscopy"): draw_phase_contrast,
    ("demo_confluence", "differential interference contrast microscopy"): draw_interference_contrast,
    ("demo_colon", "brightfield microscopy"): draw_colon,
    ("demo_tissue_fluorescence", "epifluorescence microscopy"): draw_tissue_fluorescence,
    ("demo_tissue_sbfsem", "scanning electron microscopy"): draw_tissue_electron,
}


def draw(dataset, submodality, kind, rng):
    """Draw one synthetic micrograph.

    Parameters
    ----------
    dataset, submodality : str
        A key of `SPECIMENS`.
    kind : str
        The class to draw, as spelled in `sample.SETS`.
    rng : numpy.random.Generator
        The only source of chance: the same state gives the same pixels.

    Returns
    -------
    ndarray
        RGB image, (64, 64, 3), uint8.

    Raises
    ------
    KeyError
        If the sub-dataset is not drawn through that instrument.
    """
    return SPECIMENS[dataset, submodality](rng, kind)
