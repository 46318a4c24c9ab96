"""One resampling of images for all statistics: models, slices, differences and α share its weights.

An image carries several questions, so images, not questions, are resampled (clusters), within each sub-dataset
(strata); all models share the draws, which makes differences paired. Copies of an image are one unit, whatever they are
called, and so are images of one group (specimen, slide, patient) of a sub-dataset: its home is the first of its
sub-datasets by name. A stratum's draws follow from its name, and a unit's from its place there, so that the same
contrast has the same interval whatever else is in the table.
"""

import hashlib
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

RESAMPLES = 2000
UNIT = ["stratum", "unit", "n_units", "content"]
SINGLE = "sub-datasets of one image"
_setting = {"n": RESAMPLES, "seed": 0}


@contextmanager
def resamples(n: int = RESAMPLES, seed: int = 0):
    """Within it, all intervals rest on so many resamples, drawn with this seed."""
    before = dict(_setting)
    _setting.update(n=n, seed=seed)
    try:
        yield
    finally:
        _setting.update(before)


def units(images: pd.DataFrame) -> pd.DataFrame:
    """The unit of resampling of every row of a table: what is drawn together.

    Parameters
    ----------
    images : pandas.DataFrame
        ``dataset, image_id``, where contents are known ``image_hash``, and where specimens are ``group`` (null: the
        image stands alone); rows may repeat. All images of the run: draws of a part of them are those of the whole.

    Returns
    -------
    pandas.DataFrame
        ``stratum`` (home of the unit: the first of its sub-datasets by name; homes of one unit make one stratum, as
        none shows a scatter alone), ``unit`` (its place there, by ``image_id``), ``n_units`` of the stratum and
        ``content`` (int, the same for copies); with the index of the table.

    Notes
    -----
    Copies are drawn together wherever they are, images of one group within a sub-dataset; who shares an image or a
    group with one of a unit belongs to it (connected components).
    """
    name = ["image_hash"] if "image_hash" in images else ["dataset", "image_id"]
    content = images.groupby(name, observed=True, dropna=False).ngroup()
    whole = _components(content, images) if "group" in images and images.group.notna().any() else content
    table = pd.DataFrame({"whole": whole, "stratum": images.dataset.astype(str), "image_id": images.image_id})
    homes = table.sort_values(["stratum", "image_id"], kind="stable").drop_duplicates("whole").set_index("whole")
    alone = homes.groupby("stratum").stratum.transform("size") == 1
    homes.loc[alone, "stratum"] = SINGLE
    homes["unit"] = homes.groupby("stratum").cumcount()
    homes["n_units"] = homes.groupby("stratum").unit.transform("size")
    return homes.loc[whole, UNIT[:-1]].set_index(images.index).assign(content=content)


def _components(content: pd.Series, images: pd.DataFrame) -> np.ndarray:
    """Number of the unit of each row: contents are joined by the groups that hold them."""
    stated = images.group.notna().to_numpy()
    group = images[stated].groupby([images.dataset[stated].astype(str), images.group[stated]], observed=True).ngroup()
    n_contents = content.max() + 1
    ends = content.to_numpy()[stated], n_contents + group.to_numpy()
    n = n_contents + group.max() + 1
    return connected_components(coo_array((np.ones(len(group), bool), ends), shape=(n, n)), directed=False)[1][content]


def groups_of(images: pd.DataFrame) -> dict[str, int]:
    """How the images of a run are grouped.

    Parameters
    ----------
    images : pandas.DataFrame
        As for ``units``, a row an image.

    Returns
    -------
    dict of str to int
        ``n_groups`` that are stated, ``n_grouped``: images in them, ``n_units`` that are drawn, and ``n_alone``:
        sub-datasets whose images are all of one group; all are 0 where no group is stated.
    """
    stated = images[images.group.notna()] if "group" in images else images[:0]
    if stated.empty:
        return dict.fromkeys(["n_groups", "n_grouped", "n_units", "n_alone"], 0)
    drawn = images.assign(**units(images))
    sizes = drawn.groupby("dataset", observed=True)[["image_id", "unit"]].nunique()
    return {
        "n_groups": len(stated.drop_duplicates(["dataset", "group"])),
        "n_grouped": len(stated),
        "n_units": len(drawn.drop_duplicates(["stratum", "unit"])),
        "n_alone": int(((sizes.unit == 1) & (sizes.image_id > 1)).sum()),
    }


def resampling_weights(strata, n_resamples: int | None = None) -> np.ndarray:
    """How much each image weighs in each bootstrap resample, drawn with replacement within its stratum.

    Of n images (or groups of them) n − 1 are drawn, and each weighs n / (n − 1): the scatter of the mean of n
    independent images is that of one image / n, where n draws would show (n − 1) / n of it, half in a stratum of two.
    The only image of a stratum weighs 1 in every resample.

    Parameters
    ----------
    strata : array_like, shape (n_images,)
        Sub-dataset of every image.
    n_resamples : int, optional
        As many as ``resamples`` says where it is not given.

    Returns
    -------
    numpy.ndarray, float32, shape (n_resamples, n_images)
        Every row sums to the stratum's size within each stratum.

    References
    ----------
    McCarthy and Snowden 1985, Vital Health Stat. 2(95). Rao and Wu 1988, J. Am. Stat. Assoc. 83, 231-241.
    """
    strata = pd.Series(np.asarray(strata)).astype(str)
    n_resamples = _setting["n"] if n_resamples is None else n_resamples
    weights = np.empty((len(strata), n_resamples), dtype=np.float32)
    for name, rows in strata.groupby(strata).indices.items():
        weights[rows] = _weights(_draws_of(name, len(rows), n_resamples, _setting["seed"]), len(rows))
    return weights.T


def _weights(drawn: np.ndarray, size: int) -> np.ndarray:
    return drawn * np.float32(size / max(size - 1, 1))


def generator(stratum: str, what="weights", seed: int | None = None) -> np.random.Generator:
    """Random numbers that follow from the name of a stratum, what they are for, and the seed."""
    name = f"{_setting['seed'] if seed is None else seed} {what} {stratum}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


@lru_cache(maxsize=256)  # the statistics of one page ask for the same draws again and again
def _draws_of(stratum: str, size: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each image of a stratum is drawn, uint8, (size, n_resamples): to be drawn 256 times does not occur."""
    rng = generator(stratum, seed=seed)
    drawn = rng.multinomial(max(size - 1, 1), np.full(size, 1 / size), n_resamples).astype(np.uint8)
    drawn = np.ascontiguousarray(drawn.T)
    drawn.flags.writeable = False
    return drawn


def numbered(questions: pd.DataFrame) -> pd.DataFrame:
    """Add ``image``, the number of each row's unit by stratum and place; units are the table's own if it has none."""
    if "unit" not in questions:
        questions = questions.assign(**units(questions))
    return questions.assign(image=questions.groupby(["stratum", "unit"], observed=True).ngroup())


def image_weights(questions: pd.DataFrame) -> np.ndarray:
    """``resampling_weights`` of the units of a ``numbered`` table, float32, shape (n_images, n_resamples)."""
    images = questions.drop_duplicates("image").sort_values("image")
    parts = []
    for name, own in images.groupby("stratum", sort=True, observed=True):  # images are numbered by stratum
        size = int(own.n_units.iloc[0])
        parts.append(_weights(_draws_of(name, size, _setting["n"], _setting["seed"])[own.unit.to_numpy()], size))
    return np.concatenate(parts)
