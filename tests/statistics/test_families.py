"""Forgetting: tests against enumeration and scipy, intervals against simulated truth."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import FACETS, random_answers, table_of
from helpers.simulation import SIZES, questions_of, states_of
from hypothesis import settings
from scipy.stats import binom

from ubench_utils.statistics import families as paired
from ubench_utils.statistics import intervals, resampling, scores
from ubench_utils.statistics.cells import answered_cells, cell_sums, distinct, draws, estimates, image_sums, lay_out
from ubench_utils.statistics.resampling import resamples

relaxed = settings(deadline=None, derandomize=True, max_examples=40)
STATES = ["kept", "forgotten", "learned", "never"]


def test_a_question_answered_twice_is_an_error():
    twice = pd.concat([table_of("base", [1]), table_of("base", [0]), table_of("tuned", [1])])
    for function in (paired.compare_cells, scores.compare_pairs):
        with pytest.raises(ValueError, match="twice"):
            function(twice, [("base", "tuned")], by=[])


def test_cells_are_those_of_compare():
    answers = random_answers(seed=2, missing=0.2)
    cells = resamples(50, 3)(paired.compare_cells)(answers, [("a", "c")], by=FACETS)
    compared = resamples(50, 3)(scores.compare)(answers, "a", "c", by=FACETS)
    compared = compared[compared.estimand == "micro"].set_index(scores.CELL)
    compared = compared.loc[pd.MultiIndex.from_frame(cells[scores.CELL])].reset_index()
    assert len(cells) == len(compared) > 80 and not cells.isna().any(axis=None)
    for column in ("reference_accuracy", "model_accuracy", "estimate", "ci_low", "ci_high", "n_questions", "n_images"):
        assert np.allclose(cells[column], compared[column], atol=1e-6), column
    assert (cells.forgotten == compared.lost).all() and (cells.learned == compared.gained).all()
    exact = compared.p.notna()
    assert (exact == (cells.test == "mcnemar")).all() and exact.any() and not exact.all()
    assert np.allclose(cells.p[exact], compared.p[exact])
    assert (cells[STATES].sum(axis=1) == cells.n_questions).all()


def states_of_questions(answers, reference, model):
    """What became of every question that both models answered, from a wide table."""
    key = ["dataset", "image_id", "question", "wording", "level"]
    wide = answers.pivot(index=key, columns="model", values="correct")[[reference, model]].dropna().reset_index()
    names = {(True, True): "kept", (True, False): "forgotten", (False, True): "learned", (False, False): "never"}
    pairs = zip(wide[reference].astype(bool), wide[model].astype(bool), strict=True)
    return wide.assign(state=[names[pair] for pair in pairs])


def test_cells_count_the_states_and_flip_images():
    answers = random_answers(seed=5, missing=0)
    cells = resamples(20)(paired.compare_cells)(answers, [("a", "c")], by=["scale"])
    scale = answers.drop_duplicates(["dataset", "image_id"])[["dataset", "image_id", "scale"]]
    states = states_of_questions(answers, "a", "c").merge(scale)
    cell = cells[(cells.question == "all") & (cells.wording == 1) & (cells.slice == "tissue")]
    rows = states[(states.level == cell.level.item()) & (states.wording == 1) & (states.scale == "tissue")]
    assert all((rows.state == state).sum() == cell[state].item() for state in STATES)
    step = rows.state.map({"learned": 1, "forgotten": -1}).fillna(0)
    changes = step.groupby([rows.dataset, rows.image_id]).sum().astype(int).to_numpy()
    assert cell.p.item() == pytest.approx(intervals.sign_flip(changes)) and cell.test.item() == "sign-flip"


def test_simultaneous_holds_pointwise_and_holm_holds_p():
    cells = resamples(100)(paired.compare_cells)(random_answers(seed=7), [("a", "b")], by=FACETS)
    assert ((cells.joint_low <= cells.ci_low) & (cells.ci_high <= cells.joint_high)).all()
    assert ((cells.joint_low >= -1) & (cells.joint_high <= 1) & (cells.p_adjusted >= cells.p)).all()


def test_twins_have_no_change_but_a_width():
    twin = random_answers(seed=5, models=("a",))
    cells = resamples(40)(paired.compare_cells)(pd.concat([twin, twin.assign(model="b")]), [("a", "b")], by=FACETS)
    assert (cells.estimate == 0).all() and (cells.p == 1).all() and (cells.p_adjusted == 1).all()
    assert ((cells.joint_low < cells.ci_low + 1e-9) & (cells.ci_low < 0) & (cells.ci_high > 0)).all()
    assert not cells.isna().any(axis=None) and (cells.detectable > 0).all()


def test_models_without_a_shared_question_have_no_cell():
    answers = pd.concat([table_of("a", [1]), table_of("b", [1], dataset="beech")])
    found = paired.compare_cells(answers, [("a", "b")], by=[])
    assert found.empty and {"joint_low", "p_adjusted", "kept", "detectable", "small"} <= set(found.columns)


@pytest.mark.parametrize(("n", "small"), [(38, True), (39, False)])
def test_small_cells_could_not_show_the_loss_of_a_fifth(n, small):
    answers = pd.concat([table_of("a", [1, 0] * n).iloc[:n], table_of("b", [0, 0] * n).iloc[:n]])
    cells = resamples(10)(paired.compare_cells)(answers, [("a", "b")], by=[])
    assert (cells.small == small).all()
    lost = np.arange(n + 1)
    power = binom.pmf(lost, n, 0.2) @ (intervals.mcnemar_exact(lost, 0) < 0.05)
    assert (power < 0.8) == small


# ------------------------------------------------------------------------------------------------- simulations


def simulate(n_blocks, n_pairs, sizes=SIZES, changed=True, n_resamples=1000):
    """Layouts, states, the true accuracies and weights of blocks of simulated pairs, each with its own weights."""
    questions = questions_of(sizes)
    layouts = [lay_out(questions, facet) for facet in ("all", "modality", "dataset")]
    for seed in range(n_blocks):
        states, truth = states_of(questions, n_pairs, seed, changed)
        yield layouts, states, truth, resamples(n_resamples, seed)(resampling.image_weights)(questions)


@pytest.mark.slow
def test_intervals_of_paired_differences_cover():
    """2,000 pairs; each rate's Monte-Carlo standard error is 0.5 points."""
    covered = []
    for (layout, *_), states, truth, weights in simulate(10, 200):
        answered = np.ones((len(truth), 1))
        drawn = draws(layout, states["learned"] - states["forgotten"], answered, weights)
        found = distinct(scores._comparisons(states, layout, drawn))
        for estimand, rows in found.groupby("estimand"):
            true = estimates(layout, truth, answered)[estimand] @ [-1, 1]
            true = rows[scores.CELL].merge(layout.cells.assign(true=true), how="left").true.to_numpy()
            covered.append(rows.assign(inside=(rows.ci_low <= true) & (true <= rows.ci_high)))
    covered = pd.concat(covered)
    rates = covered.groupby(["estimand", "level", "question"]).inside.agg(["mean", "size"])
    print(rates)
    assert (rates["size"] == 2000).all() and set(covered.interval) == {"bootstrap"}
    assert 0.94 <= covered.inside.mean() <= 0.96
    pooled = rates.xs("all", level="question")["mean"]  # clusters of five or six correlated answers
    assert pooled.between(0.94, 0.96).all()
    assert rates["mean"].between(0.935, 0.965).all()  # 14 rates: three standard errors


@pytest.mark.slow
def test_simultaneous_intervals_cover_jointly():
    """600 pairs × 151 cells; the Monte-Carlo standard error is 0.9 points."""
    joint, pointwise = [], []
    for layouts, states, truth, weights in simulate(3, 200):
        answered = np.ones((len(truth), 1))
        drawn, true, tables = [], [], []
        for layout in layouts:
            step = states["learned"] - states["forgotten"]
            drawn.append(draws(layout, step, answered, weights)["micro"])
            true.append(estimates(layout, truth, answered)["micro"] @ [-1, 1])
            counts = {state: cell_sums(layout, states[state]) for state in ("forgotten", "learned")}
            tables.append((answered_cells(layout, answered)[0], counts))
        drawn, true = np.concatenate(drawn), np.concatenate(true)
        cells = pd.concat([table for table, _ in tables], ignore_index=True)
        lost, gained = (np.concatenate([c[way] for _, c in tables]) for way in ("forgotten", "learned"))
        for pair in range(drawn.shape[1]):
            own = cells.assign(forgotten=lost[:, pair], learned=gained[:, pair])
            own["estimate"] = (own.learned - own.forgotten) / own.n_questions
            found = paired.family_intervals(own, drawn[:, pair])
            joint.append(((found.joint_low <= true) & (true <= found.joint_high)).all())
            pointwise.append(((found.ci_low <= true) & (true <= found.ci_high)).all())
    print(
        f"{len(cells)} cells: all simultaneous intervals cover {np.mean(joint):.3f}, pointwise {np.mean(pointwise):.3f}"
    )
    assert len(cells) > 140 and 0.94 <= np.mean(joint) <= 0.98 and np.mean(pointwise) < 0.2


def test_sign_flip_has_its_false_positive_rate():
    """4,000 pairs without a true difference; the Monte-Carlo standard error is 0.35 points."""
    wrong, ignoring = [], []
    for (layout, *_), states, *_ in simulate(4, 1000, sizes=[10] * 20, changed=False, n_resamples=1):
        cell, change = image_sums(layout, states["learned"] - states["forgotten"])
        at = (layout.cells.question.eq("all") & layout.cells.level.eq("coarse")).to_numpy().nonzero()[0].item()
        changes = change[cell == at].astype(int).T
        wrong += [intervals.sign_flip(pair) <= 0.05 for pair in changes]
        lost, gained = (cell_sums(layout, states[way])[at] for way in ("forgotten", "learned"))
        ignoring += list(intervals.mcnemar_exact(lost, gained) <= 0.05)
    print(
        f"false positives at 5 %: sign-flip {np.mean(wrong):.4f}, McNemar that ignores images {np.mean(ignoring):.4f}"
    )
    assert 0.04 <= np.mean(wrong) <= 0.06 < np.mean(ignoring)
