"""Choosing α: against plain loops, and whether cross-fitting takes the optimism away."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ubench_utils.statistics import selection
from ubench_utils.statistics.resampling import resamples
from ubench_utils.statistics.scores import score

ALPHAS = np.arange(11) / 10
relaxed = settings(deadline=None, derandomize=True, max_examples=40)


def sweep_of(n_images=90, seed=0, rates=0.5, alphas=ALPHAS, noise=0.5):
    """Answers at every α to two questions an image in three sub-datasets; ``noise`` is what neighbours do not share."""
    rng = np.random.default_rng(seed)
    image = np.arange(n_images)
    images = pd.DataFrame({"dataset": np.array(["apple", "beech", "cedar"])[image % 3], "image_id": image})
    images["term"] = np.where(images.dataset == "cedar", "out", "in")
    rows = images.merge(pd.DataFrame({"question": ["x", "y"]}), "cross").assign(wording=1, level="coarse", n_options=4)
    common = rng.normal(size=n_images)[np.repeat(image, 2)] + rng.normal(size=len(rows))
    own = rng.normal(size=(len(alphas), len(rows)))
    score = np.sqrt(1 - noise) * common / np.sqrt(2) + np.sqrt(noise) * own
    threshold = norm.isf(np.broadcast_to(rates, len(alphas)))
    tables = [rows.assign(alpha=a, model=f"mix {a}", correct=score[i] > threshold[i]) for i, a in enumerate(alphas)]
    return pd.concat(tables, ignore_index=True)


def plain_target(rows, weights, estimand):
    """Target of the answers of one α, from the rows."""
    total = 0
    for name, weight in weights.items():
        part = rows[rows.term == name]
        total += weight * (
            part.correct.mean() if estimand == "micro" else part.groupby("dataset").correct.mean().mean()
        )
    return total


@pytest.mark.parametrize("estimand", ["micro", "macro"])
def test_cross_fit_is_the_plain_loop(estimand, monkeypatch):
    answers, weights = sweep_of(noise=0.9), {"in": 0.7, "out": 0.3}
    monkeypatch.setattr(selection, "FOLDS", 3)
    monkeypatch.setattr(selection, "SPLITS", 2)
    found = resamples(200, 5)(selection.cross_fit)(answers, weights, estimand=estimand)
    images = answers[["dataset", "image_id"]].drop_duplicates().sort_values(["dataset", "image_id"])
    scored = []
    for fold in resamples(200, 5)(selection._folds)(images.dataset, 3, 2):
        fold_of = dict(zip(images.image_id, fold, strict=True))
        where, kept = answers.image_id.map(fold_of), []
        for k in range(3):
            targets = [plain_target(answers[(where != k) & (answers.alpha == a)], weights, estimand) for a in ALPHAS]
            best = next(a for a, target in zip(ALPHAS, targets, strict=True) if target >= max(targets) - 1e-9)
            kept.append(answers[(where == k) & (answers.alpha == best)])
        scored.append(plain_target(pd.concat(kept), weights, estimand))
    curve = {a: plain_target(answers[answers.alpha == a], weights, estimand) for a in ALPHAS}
    assert found["cross_fitted"] == pytest.approx(np.mean(scored), abs=1e-6)
    assert found["naive"] == pytest.approx(max(curve.values())) == pytest.approx(curve[found["alpha"]])
    assert found["optimism"] == pytest.approx(found["naive"] - found["cross_fitted"])
    assert found["over_base"] == pytest.approx(found["cross_fitted"] - curve[0], abs=1e-6)
    assert found["over_tuned"] == pytest.approx(found["cross_fitted"] - curve[1], abs=1e-6)
    assert found["alpha_low"] <= found["alpha"] <= found["alpha_high"]
    for name in ("ci", "over_base", "over_tuned"):
        value = found["cross_fitted" if name == "ci" else name]
        assert found[f"{name}_low"] < value < found[f"{name}_high"]
    assert (found["n_questions"], found["n_images"]) == (180, 90)


def test_folds_are_even_within_each_stratum():
    strata = np.repeat(["x", "y"], [13, 7])
    folds = selection._folds(strata, 5, 30)
    for name in "xy":
        counts = np.stack([np.bincount(fold[strata == name], minlength=5) for fold in folds])
        assert counts.max() - counts.min() <= 1
    assert len(np.unique(folds, axis=0)) == 30


def test_equal_alphas_choose_the_smallest():
    base = sweep_of(alphas=[0.0])
    found = resamples(50)(selection.cross_fit)(pd.concat([base.assign(alpha=a, model=f"mix {a}") for a in ALPHAS]))
    assert found["alpha"] == found["alpha_low"] == found["alpha_high"] == 0 and found["alpha_share"] == 1
    assert [found[name] for name in ("optimism", "over_base", "over_tuned")] == pytest.approx([0, 0, 0])


def test_a_clear_best_has_no_optimism():
    answers = sweep_of()
    answers.loc[answers.alpha == 0.4, "correct"] = True
    found = resamples(50)(selection.cross_fit)(answers)
    assert found["alpha"] == 0.4 and found["alpha_share"] == 1 and found["optimism"] == 0
    assert found["cross_fitted"] == 1 and found["over_base_low"] > 0.2


def test_order_of_rows_does_not_matter_and_the_seed_does():
    answers = sweep_of()
    one, same = (resamples(50)(selection.cross_fit)(a) for a in (answers, answers.sample(frac=1, random_state=0)))
    assert one == same != resamples(50, 1)(selection.cross_fit)(answers)


def test_what_cannot_be_chosen_from_is_an_error():
    answers = sweep_of()
    with pytest.raises(ValueError, match="must hold 0 and 1"):
        selection.cross_fit(answers[answers.alpha < 1])
    with pytest.raises(ValueError, match="elsewhere"):
        selection.cross_fit(answers, {"in": 0.5, "elsewhere": 0.5})
    with pytest.raises(ValueError, match="no question"):
        selection.cross_fit(answers[(answers.alpha == 0) == (answers.question == "x")])


@pytest.mark.parametrize("n_beech", [1, 20])
@pytest.mark.parametrize("weights", [None, {"in": 0.5, "out": 0.5}])
def test_a_mean_over_sub_datasets_of_too_few_images_is_withheld_as_by_score(n_beech, weights):
    answers = sweep_of(60)
    answers = answers[(answers.dataset != "beech") | (answers.image_id < 3 * n_beech)]
    with resamples(20):
        found, micro = (selection.cross_fit(answers, weights, estimand=estimand) for estimand in ("macro", "micro"))
        scores = score(answers[answers.term == "in"], by=()).query("estimand == 'macro' and question == 'all'")
    counts = {name: found.pop(name) for name in ("n_questions", "n_images")}
    assert counts == {"n_questions": 2 * (40 + n_beech), "n_images": 40 + n_beech}
    withheld = scores.interval.eq("withheld").all()
    assert np.isnan(list(found.values())).all() == withheld == (n_beech == 1)
    assert np.isfinite(list(micro.values())).all() and (withheld or np.isfinite(list(found.values())).all())


@pytest.mark.slow
def test_cross_fitting_takes_the_optimism_away(monkeypatch):
    """All α are equally good (0.5), so that whatever is chosen has the accuracy 0.5: the hardest choice."""
    monkeypatch.setattr(selection, "SPLITS", 10)
    found = pd.DataFrame([resamples(400)(selection.cross_fit)(sweep_of(seed=seed)) for seed in range(300)])
    error = found.cross_fitted.std() / np.sqrt(len(found))
    print(
        f"truth 0.5000; chosen and scored on the same images {found.naive.mean():.4f}, "
        f"cross-fitted {found.cross_fitted.mean():.4f} (Monte-Carlo standard error {error:.4f})"
    )
    covered = ((found.ci_low <= 0.5) & (found.ci_high >= 0.5)).mean()
    versus = ((found.over_base_low <= 0) & (found.over_base_high >= 0)).mean()
    print(f"intervals cover: cross-fitted {covered:.3f}, difference to the base {versus:.3f}")
    assert found.naive.mean() > 0.53 and abs(found.cross_fitted.mean() - 0.5) < 3 * error
    assert covered >= 0.92 and versus >= 0.92


# ------------------------------------------------------------------------------------------------------ Pareto


@relaxed
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_pareto_is_the_plain_loop(points):
    def dominated(p):
        return any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)

    gain, retained = ([p[i] for p in points] for i in (0, 1))
    assert list(selection.pareto(gain, retained)) == [not dominated(p) for p in points]
