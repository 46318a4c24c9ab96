"""Pairs of a base and a fine-tuned model: the gain in-domain, the loss out-of-domain, and what changed in the weights.

In-domain are the images that a specialist was tuned for (``in_domain`` in models.yml, say those of pathology),
out-of-domain the rest. All differences are paired: the same images, the same resamples. Tables of weights are kept in
the cache beside the embeddings, so a page that reads them loads no model and no torch.
"""

from contextlib import suppress
from itertools import combinations

import numpy as np
import pandas as pd

from ..data.questions import COARSE
from ..engine import store
from ..errors import UserError
from ..models.load import open_model
from ..models.registry import check_lineage, find_model
from ..statistics.families import compare_cells
from ..statistics.scores import contrast, totals
from .overview import perception

CELLS_BY = ("where", "modality", "scale", "dataset")


def is_in_domain(answers: pd.DataFrame, tuned: str) -> pd.Series:
    """Which answers are to images that a model was fine-tuned for; all of them where models.yml says nothing."""
    return lies_within(answers, find_model(tuned).in_domain or {})


def parts_of(answers: pd.DataFrame, tuned: str) -> dict[str, pd.Series]:
    """Which answers make up each of three parts: fine-grained and coarse in-domain, and all out-of-domain."""
    inside = is_in_domain(answers, tuned)
    return {
        "fine-grained, in-domain": inside & (answers.level == "fine"),
        "coarse, in-domain": inside & (answers.level == "coarse"),
        "all, out-of-domain": ~inside,
    }


def lies_within(table: pd.DataFrame, facets: dict) -> pd.Series:
    """Which rows have all these values of the facets; every row where none is asked for."""
    mask = pd.Series(True, index=table.index)
    for facet, value in facets.items():
        mask &= table[facet] == value
    return mask


def gain_and_loss(answers: pd.DataFrame, base: str, tuned: str) -> tuple[dict, dict, dict]:
    """Paired change, tuned − base: fine-grained in-domain, coarse in-domain, and all questions out-of-domain.

    Each is a contrast as from ``scores.contrast``, pooled over questions.
    """
    return change_of(answers, tuned, {tuned: 1, base: -1})


def change_of(answers: pd.DataFrame, tuned: str, weights: dict) -> tuple[dict, dict, dict]:
    """The contrast with these weights of models: fine in-domain, coarse in-domain, and all questions out-of-domain."""
    rows = perception(answers)
    fine, coarse, outside = (contrast(rows[part], weights) for part in parts_of(rows, tuned).values())
    return fine, coarse, outside


def cells(answers: pd.DataFrame, base: str, tuned: str) -> pd.DataFrame:
    """Change of every question type × domain of the fine-tuning, modality, scale and sub-dataset: one family of tests.

    The columns of ``families.compare_cells``; the facet ``where`` has the slices ``in-domain`` and ``out-of-domain``.
    """
    rows = perception(answers[answers.model.isin([base, tuned])])
    where = is_in_domain(rows, tuned).map({True: "in-domain", False: "out-of-domain"})
    return compare_cells(rows.assign(where=where), [(base, tuned)], by=CELLS_BY)


def headline_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``cells`` for a figure, in its order: question types in-domain, out-of-domain, sub-datasets.

    ``name`` is the row's label; sub-datasets are shown by their fine-grained question.
    """
    types = cells[(cells.by == "where") & (cells.question != "all")]
    types = types.assign(name=types.question + ", " + types.slice)
    sets = cells[(cells.by == "dataset") & (cells.level == "fine")]
    return pd.concat([types.sort_values("slice", kind="stable"), sets.assign(name=sets.slice)], ignore_index=True)


def fates(cells: pd.DataFrame) -> pd.DataFrame:
    """What became of the questions, as shares: a row for each pair (``reference, model``), level, side and state.

    ``cells`` holds the rows of ``cells``; ``asked`` names level and side with their number of questions.
    """
    if cells.empty:
        return cells
    rows = totals(cells[cells.by == "where"])
    rows = rows.assign(asked=rows.level + ", " + rows.slice + [f" (n = {n:,})" for n in rows.n_questions])
    rows = rows.sort_values(["slice", "level"], ascending=[True, False], kind="stable")
    keys = ["reference", "model", "asked", "n_questions"]
    table = rows.melt(keys, ["kept", "forgotten", "learned", "never"], var_name="state", value_name="n")
    return table.assign(estimate=table.n / table.n_questions)


def beside_published(cells: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Change of each coarse question over all images: ``published`` (``published.forgetting``), and ``here``."""
    theirs = theirs[theirs.kind == "coarse"].rename(columns={"base": "reference", "tuned": "model", "name": "question"})
    theirs = theirs.assign(estimate=theirs.difference / 100, where="published")
    columns = ["reference", "model", "question", "estimate", "where"]
    if cells.empty:
        return theirs[columns]
    ours = cells[(cells.by == "all") & cells.question.isin(COARSE)].assign(where="here")
    return pd.concat([theirs[columns], ours[[*columns, "ci_low", "ci_high"]]], ignore_index=True)


def change_context(changes: dict, cells: dict) -> dict:
    """What fine-tuning changed, and how many cells stand after Holm's correction.

    ``changes[(base, tuned)]`` is from ``gain_and_loss``, ``cells[(base, tuned)]`` from ``cells``.
    """
    pairs = []
    for (base, tuned), (fine, coarse, outside) in changes.items():
        table = cells[base, tuned]
        firm = table[table.p_adjusted < 0.05]
        pairs.append(
            {
                "base": base,
                "tuned": tuned,
                "fine": fine,
                "coarse": coarse,
                "outside": outside,
                "n_cells": len(table),
                "n_fell": int((firm.estimate < 0).sum()),
                "n_rose": int((firm.estimate > 0).sum()),
                "n_small": int(table.small.sum()),
            }
        )
    return {"pairs": pairs}


def layer_changes(base: str, tuned: str) -> pd.DataFrame:
    """How far fine-tuning moved the weights of each layer of each tower.

    Parameters
    ----------
    base, tuned : str
        Names or model strings.

    Returns
    -------
    pandas.DataFrame
        ``tower`` (``image``, ``text``, or ``both`` for the temperature), ``layer`` (from 0, as told by
        ``merging.layer_depths``), ``change_norm`` and ``base_norm`` (Euclidean norms of the task vector and of the
        base's weights), ``relative_change`` (their ratio) and ``n_parameters``. Weights only: the running statistics
        of batch normalisation describe activations and are left out.

    Raises
    ------
    UserError
        If the models differ in more than their weights, are known not to share a base, or a layer is unknown.
    """
    table = _products(base, [tuned])
    norms = table[["tower", "layer"]].assign(change_norm=np.sqrt(table.change_0_0), base_norm=np.sqrt(table.base))
    return norms.assign(relative_change=norms.change_norm / norms.base_norm, n_parameters=table.n_parameters)


def task_angles(base: str, tuned_models: list[str]) -> pd.DataFrame:
    """Cosines between the task vectors of each pair of specialists: 1 alike, 0 unrelated, −1 opposed.

    Source: Ilharco et al. 2023 (arXiv 2212.04089), who find task vectors of unrelated tasks close to orthogonal.

    Parameters
    ----------
    base : str
        Name or model string of the model that all were tuned from.
    tuned_models : list of str
        Two specialists or more.

    Returns
    -------
    pandas.DataFrame
        ``first``, ``second`` (specialists), ``tower``, ``layer``, ``cosine`` (NaN where one did not change) and
        ``n_parameters``: of each layer, then of each tower (``layer`` is missing), then of all weights (``tower`` is
        ``all``). Weights as in ``layer_changes``.

    Raises
    ------
    UserError
        As for ``layer_changes``.
    """
    table = _products(base, tuned_models)
    towers = table.drop(columns="layer").groupby("tower", as_index=False, sort=False).sum()
    whole = table.drop(columns=["layer", "tower"]).sum().to_frame().T.assign(tower="all")
    table = pd.concat([table, towers, whole], ignore_index=True)
    parts = []
    for one, other in combinations(range(len(tuned_models)), 2):
        norms = np.sqrt(table[f"change_{one}_{one}"] * table[f"change_{other}_{other}"])
        parts.append(
            pd.DataFrame(
                {
                    "first": tuned_models[one],
                    "second": tuned_models[other],
                    "tower": table.tower,
                    "layer": table.layer.astype("Int64"),
                    "cosine": table[f"change_{one}_{other}"] / norms.where(norms > 0),
                    "n_parameters": table.n_parameters.astype(int),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def changes_of_pairs(pairs) -> dict:
    """``layer_changes`` of every pair (base, fine-tuned) whose weights can be compared and whose layers are known."""
    changes = {}
    for pair in pairs:
        with suppress(UserError):  # of two architectures, or one whose layers this project does not know
            changes[pair] = layer_changes(*pair)
    return changes


def angles_of_pairs(pairs) -> pd.DataFrame:
    """``task_angles`` of all bases that have two specialists or more among the pairs (base, fine-tuned)."""
    specialists: dict[str, list] = {}
    for base, tuned in changes_of_pairs(pairs):
        specialists.setdefault(base, []).append(tuned)
    tables = [task_angles(base, tuned) for base, tuned in specialists.items() if len(tuned) > 1]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["first", "second", "tower"])


def _products(base: str, tuned: list[str]) -> pd.DataFrame:
    """Sums over each layer of the base's squares and of the products of each pair of task vectors, from the cache."""
    check_lineage(base, *tuned)
    identities = _identities(base, *tuned)
    path = store.entry("weights", identities)
    found = store.read(path)
    if found is None:
        table = _sum_products(base, tuned)
        if _identities(base, *tuned) != identities:
            raise UserError(f"the files of '{base}' or of what was tuned from it changed during the run; run it again")
        found = {column: table[column].to_numpy(str if column == "tower" else None) for column in table}
        store.write(path, **found)
    return pd.DataFrame({column: values.tolist() for column, values in found.items()})


def _identities(*models: str) -> list[dict]:
    return [open_model(model).identity for model in models]


def _sum_products(base: str, tuned: list[str]) -> pd.DataFrame:
    from ..models.merging import check_mixable, layer_depths, task_vector

    first, *others = [open_model(model).load() for model in (base, *tuned)]
    for model in others:
        check_mixable(first, model)
    depths = layer_depths(first.network.state_dict())
    weights = {key: value.detach() for key, value in first.network.named_parameters()}
    vectors = [task_vector(weights, model.network.state_dict()) for model in others]
    rows = [
        {
            "tower": depths[key].tower,
            "layer": depths[key].layer,
            "base": float(value.double().square().sum()),
            "n_parameters": value.numel(),
            **{
                f"change_{one}_{other}": float((vectors[one][key].double() * vectors[other][key].double()).sum())
                for one in range(len(vectors))
                for other in range(one, len(vectors))
            },
        }
        for key, value in weights.items()
    ]
    return pd.DataFrame(rows).groupby(["tower", "layer"], as_index=False).sum()


def by_layer(changes: pd.DataFrame, angles: pd.DataFrame) -> pd.DataFrame:
    """Changes and angles as one table: ``what, series, tower, layer, estimate, right_angle``, in percent and degrees.

    ``changes`` holds the rows of ``layer_changes`` and their ``model``; ``angles`` is from ``task_angles``.
    """
    if changes.empty:
        return changes
    moved = changes.assign(what="change of weights (%)", series=changes.model, estimate=100 * changes.relative_change)
    own = angles[angles.layer.notna()] if len(angles) else angles
    if len(own):
        degrees = np.degrees(np.arccos(own.cosine.astype(float).clip(-1, 1)))
        names = own["first"] + " and " + own.second
        own = own.assign(what="angle (degrees)", series=names, estimate=degrees, right_angle=90.0)
    table = pd.concat([moved, own], ignore_index=True)
    return table.assign(layer=table.layer.astype(int), right_angle=table.get("right_angle"))
