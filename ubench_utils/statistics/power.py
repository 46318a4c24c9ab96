"""What more images would tell: the smallest difference that would be found at this size, and at multiples of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from .cells import answered_cells, cell_sums, draws, lay_out
from .intervals import POWER, design_effect, detectable_difference, quantile
from .resampling import image_weights
from .tally import paired_states, tabulate

FACTORS = (1, 2, 4, 8)
POWERS = ["reference", "model", "against", "factor", "n_questions", "n_images", "n_units", "estimate", "detectable"]
TAILS = 2 * POWER - 1  # confidence whose two-sided quantile is the one-sided quantile of the power


def detectable(
    answers: pd.DataFrame,
    pairs: Sequence[tuple[str, str]] = (),
    fixed: Mapping[str, float] | None = None,
    factors: Sequence[float] = FACTORS,
) -> pd.DataFrame:
    """Smallest difference in accuracy that a two-sided test at 5 % finds with 80 % power, by number of images.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``, filtered to the questions that matter, say one level in one wording; they are pooled.
    pairs : sequence of (reference, model)
        Models that are compared on the same questions; a rule's answers may be a model's.
    fixed : mapping of str to float, optional
        Models, each with the accuracy, 0 to 1, that it is to exceed, a number without error of its own.
    factors : sequence of float
        Multiples of the images (or of the groups of images) that there are.

    Returns
    -------
    pandas.DataFrame
        A row a comparison and factor: ``reference`` (None against a number), ``model, against`` (NaN in a pair),
        ``factor``; ``n_questions, n_images, n_units`` at that size (units: images, or groups that are drawn together),
        ``estimate`` (the difference that these answers show) and ``detectable`` (a difference, 0 to 1; NaN where none
        would be found, or where one group decides and nothing is known of the scatter).

    Notes
    -----
    Of a pair: Connor's formula (``intervals.detectable_difference``) with the rate of discordant answers of these
    answers, smoothed as in Bonett and Price's interval. Against a number p₀: the least p₁ > p₀ with n (p₁ − p₀)² =
    (z₁ √(p₀(1−p₀)) + z₂ √(p₁(1−p₁)))², the size of the score test, whose inversion is Wilson's interval. Answers of
    one unit go together: n is that of as many independent answers (the design effect of these), and with groups the
    quantiles are Student's.

    The design effect and the rate of discordance are estimates; a different sample would give somewhat another curve.

    References
    ----------
    Connor 1987, Biometrics 43, 207-211. Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions,
    section 2.5. Card et al. 2020, EMNLP, 9263-9274 (power of comparisons of models). Kish 1965, Survey Sampling.
    """
    tables = [_of_pairs(answers, pairs, factors), _against(answers, dict(fixed or {}), factors)]
    return pd.concat([pd.DataFrame(columns=POWERS), *(t for t in tables if len(t))], ignore_index=True).infer_objects()


def _of_pairs(answers: pd.DataFrame, pairs, factors) -> pd.DataFrame:
    asked = answers[answers.model.isin({model for pair in pairs for model in pair})]
    questions, states = paired_states(tabulate(asked), list(pairs))
    if questions.empty:
        return pd.DataFrame(columns=POWERS)
    step, flips = states["learned"] - states["forgotten"], states["learned"] + states["forgotten"]
    answered = flips + states["kept"] + states["never"]
    cells, drawn, (gain, discordant) = _pooled(questions, [step, flips], answered)
    n, difference = cells.n_questions.to_numpy(), gain / cells.n_questions.to_numpy()
    effect = _effect(cells, drawn, discordant / n - difference**2)
    rate = (discordant / effect + 2) / (n / effect + 2)

    def found(factor):
        size = n / effect * factor
        return detectable_difference(rate * (size + 2) - 2, size, size) * _students(cells.df, factor)

    names = pd.DataFrame([pairs[at] for at in cells.column], columns=["reference", "model"]).assign(against=np.nan)
    return _curve(names, cells, difference, factors, found)


def _against(answers: pd.DataFrame, fixed: dict, factors) -> pd.DataFrame:
    tally = tabulate(answers[answers.model.isin(list(fixed))])
    if tally.questions.empty:
        return pd.DataFrame(columns=POWERS)
    cells, drawn, (right,) = _pooled(tally.questions, [tally.correct], tally.answered)
    share = right / cells.n_questions.to_numpy()
    effect = _effect(cells, drawn, share * (1 - share))
    models = [tally.models[at] for at in cells.column]
    numbers = np.array([fixed[model] for model in models])

    def found(factor):
        sizes = cells.n_questions / effect * factor
        return np.array([_above(*of) for of in zip(numbers, sizes, cells.df * factor, strict=True)])

    names = pd.DataFrame({"reference": None, "model": models, "against": numbers})
    return _curve(names, cells, share - numbers, factors, found)


def _pooled(questions: pd.DataFrame, values: list, answered: np.ndarray) -> tuple:
    """The one cell of all questions: its facts for each column, draws of the first values, and sums of all."""
    layout = lay_out(questions.assign(level="all", question="all", wording=0))
    cells, at = answered_cells(layout, answered)
    drawn = draws(layout, values[0], answered, image_weights(questions))["micro"][at]
    return cells, drawn, [cell_sums(layout, of)[at] for of in values]


def _effect(cells: pd.DataFrame, drawn: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Design effect of each column, 1 where every unit has one question, NaN where one group decides."""
    found = design_effect(drawn, spread, cells.n_questions, cells.n_even)
    return np.where(cells.alone, np.nan, np.where(cells.n_questions == cells.n_units, 1, found))


def _students(df, factor: float) -> np.ndarray:
    """How much larger Student's quantiles of error and power are than the normal ones."""
    return (quantile(df=df * factor) + quantile(TAILS, df * factor)) / (quantile() + quantile(TAILS))


def _above(p: float, n: float, df: float) -> float:
    """The least difference above ``p`` that is found with n independent answers; NaN where there is none."""
    error, power = quantile(df=df), quantile(TAILS, df)

    def lacking(q):
        return np.sqrt(n) * (q - p) - error * np.sqrt(p * (1 - p)) - power * np.sqrt(q * (1 - q))

    return brentq(lacking, p, 1) - p if np.isfinite(n) and p < 1 and lacking(1) >= 0 > lacking(p) else np.nan


def _curve(names: pd.DataFrame, cells: pd.DataFrame, estimate, factors, found) -> pd.DataFrame:
    """Rows of each comparison at each factor; ``found`` gives the detectable differences at one."""
    counts = cells[["n_questions", "n_images", "n_units"]]
    tables = [
        names.assign(
            factor=factor, **(counts * factor).round().astype(int), estimate=estimate, detectable=found(factor)
        )
        for factor in factors
    ]
    order = pd.concat(tables).reset_index().sort_values(["index", "factor"], kind="stable", ignore_index=True)
    order["detectable"] = order.detectable.where(order.detectable < 1)  # no difference is larger
    return order[POWERS]
