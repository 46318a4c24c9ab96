"""Statistics against plain references: loops, scipy, counting by hand, simulated coverage."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import FACETS, random_answers, table_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ubench_utils.statistics import resampling
from ubench_utils.statistics import scores as stats
from ubench_utils.statistics.resampling import resamples

relaxed = settings(deadline=None, derandomize=True, max_examples=40)


def too_few(cell):
    """Whether a cell's sub-datasets hold too few images for a mean over them."""
    n = cell.groupby("dataset").image_id.nunique()
    return len(n) > 1 and ((n == 1).any() or sum(1 / n) ** 2 / sum(1 / n**2 / (n - 1)) < 8)


def by_hand(answers, by):
    """The scores without intervals, cell by cell."""
    records = {}
    for facet in ["all", *by]:
        sliced = answers.assign(slice="all" if facet == "all" else answers[facet])
        for (model, level, wording, slice_), rows in sliced.groupby(["model", "level", "wording", "slice"]):
            cells = {**dict(list(rows.groupby("question"))), "all": rows}
            for question, cell in cells.items():
                by_set = cell.assign(chance=1 / cell.n_options).groupby("dataset")
                common = (len(cell), len(cell[["dataset", "image_id"]].drop_duplicates()))
                key = (model, level, question, wording, facet, slice_)
                records[*key, "micro"] = (cell.correct.mean(), (1 / cell.n_options).mean(), *common)
                mean = np.nan if too_few(cell) else by_set.correct.mean().mean()
                records[*key, "macro"] = (mean, by_set.chance.mean().mean(), *common)
    columns = ["estimate", "chance", "n_questions", "n_images"]
    return pd.DataFrame.from_dict(records, orient="index", columns=columns).sort_index()


def indexed(scores):
    return scores.set_index([*stats.KEY, "estimand"]).sort_index()


# ------------------------------------------------------------------------------------------ resampling weights


@relaxed
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(0, 5))
def test_weights_keep_the_size_of_each_stratum(strata, seed):
    weights = resamples(7, seed)(resampling.resampling_weights)(strata)
    assert weights.shape == (7, len(strata)) and (weights >= 0).all()
    for name in set(strata):
        members = np.array(strata) == name
        n, own = members.sum(), weights[:, members]
        assert np.allclose(own.sum(1), n) and np.allclose(own * (n - 1) / n, (own * (n - 1) / n).round(), atol=1e-5)
    assert (weights == resamples(7, seed)(resampling.resampling_weights)(strata)).all()


def test_weights_are_multinomial_independent_between_strata_and_seeded():
    strata = np.repeat(["x", "y"], [8, 8])
    weights = resamples(20000, 3)(resampling.resampling_weights)(strata)
    correlation = np.corrcoef(weights.T)
    assert np.abs(correlation[:8, 8:]).max() < 0.03
    assert np.allclose(correlation[:8, :8][~np.eye(8, dtype=bool)], -1 / 7, atol=0.03)
    assert np.allclose(weights.mean(0), 1, atol=0.03) and np.allclose(weights.var(0), 1, atol=0.05)
    assert (weights[:50] != resamples(50, 4)(resampling.resampling_weights)(strata)).any()


# ------------------------------------------------------------------------------------------------------ score


def test_score_is_the_plain_reference():
    answers = random_answers()
    scores = indexed(resamples(20)(stats.score)(answers, by=FACETS))
    expected = by_hand(answers, FACETS)
    assert list(scores.index) == list(expected.index) and len(scores) > 500
    for column in ("estimate", "chance"):
        assert np.allclose(scores[column], expected[column], atol=1e-6, equal_nan=True)
    assert (scores.interval.eq("withheld") == expected.estimate.isna()).all() and scores.estimate.isna().any()
    for column in ("n_questions", "n_images"):
        assert (scores[column] == expected[column]).all()
    corrected = (expected.estimate - expected.chance) / (1 - expected.chance)
    assert np.allclose(scores.chance_corrected, corrected, atol=1e-6, equal_nan=True)


def test_score_columns_are_the_contract():
    scores = resamples(20)(stats.score)(random_answers(), by=["scale"])
    contract = ["model", "level", "question", "wording", "by", "slice", "estimand", "estimate", "ci_low", "ci_high"]
    contract += ["n_questions", "n_images", "chance", "chance_corrected"]
    assert list(scores.columns)[: len(contract)] == contract
    assert scores[[*stats.KEY, "estimand"]].duplicated().sum() == 0
    scores = scores[scores.interval != "withheld"]
    assert len(scores) and not scores.isna().any(axis=None)
    for column in ("model", "level", "question", "by", "slice"):  # text, to which a page can add text
        assert (scores[column] + ", ").str.endswith(", ").all(), column
    assert ((scores.ci_low >= 0) & (scores.ci_low <= scores.ci_high) & (scores.ci_high <= 1)).all()


def test_score_does_not_depend_on_row_order():
    answers = random_answers()
    shuffled = answers.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(*(resamples(30)(stats.score)(rows, by=FACETS) for rows in (answers, shuffled)))


def test_score_does_not_depend_on_the_other_models():
    answers = random_answers(missing=0)
    alone = resamples(30)(stats.score)(answers[answers.model == "b"], by=FACETS)
    among = resamples(30)(stats.score)(answers, by=FACETS)
    among = among[among.model == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among)


@pytest.mark.parametrize("known", ["human", None])
def test_an_image_without_a_value_is_in_no_slice(known):
    answers = random_answers()
    answers["stain"] = answers.organism.where(answers.organism == known)
    scores = resamples(20)(stats.score)(answers, by=["stain", "organism"])
    columns = ["model", "question", "estimate", "ci_low", "n_questions"]
    found, expected = scores[scores.by == "stain"], scores[(scores.by == "organism") & (scores.slice == known)]
    pd.testing.assert_frame_equal(found[columns].reset_index(drop=True), expected[columns].reset_index(drop=True))
    assert (resamples(20)(stats.compare)(answers, "a", "b", by=["stain"]).slice == "human").any() == (known == "human")


def test_seed_moves_bootstrap_intervals_only():
    answers = random_answers()
    one, same, other = (resamples(100, seed)(stats.score)(answers, by=()) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    moved = (one.ci_low != other.ci_low) | (one.ci_high != other.ci_high)
    assert moved[one.interval == "bootstrap"].any() and not moved[one.interval == "wilson"].any()
    assert one.estimate.equals(other.estimate)


def loop_bootstrap(answers, statistic, n_resamples, seed):
    """Percentile interval of a statistic of the table, each image's rows with the weight of the image."""
    images = answers[["dataset", "image_id"]].drop_duplicates().sort_values(["dataset", "image_id"])
    weights = resamples(n_resamples, seed)(resampling.resampling_weights)(images.dataset)
    place = {key: i for i, key in enumerate(zip(images.dataset, images.image_id, strict=True))}
    at = np.array([place[key] for key in zip(answers.dataset, answers.image_id, strict=True)])
    values = [statistic(answers.assign(weight=row[at])[row[at] > 0]) for row in weights]
    return np.nanquantile(values, [0.025, 0.975])


def micro(rows):
    return np.average(rows.correct, weights=rows.weight)


def macro(rows):
    return np.mean([micro(own) for _, own in rows.groupby("dataset")])


@pytest.mark.parametrize("statistic", [micro, macro])
@pytest.mark.parametrize("cell", [("all", "all"), ("scale", "tissue"), ("organism", "mouse")])
def test_bootstrap_interval_is_that_of_a_plain_loop(statistic, cell):
    answers = random_answers(seed=4, missing=0.05)
    scores = indexed(resamples(60, 9)(stats.score)(answers, by=FACETS))
    found = scores.loc[("b", "coarse", "all", 1, *cell, statistic.__name__)]
    assert found.interval == "bootstrap" and found.ci_low < found.ci_high

    def of_cell(rows):
        rows = rows[(rows.model == "b") & (rows.level == "coarse") & (rows.wording == 1)]
        chosen = rows if cell[0] == "all" else rows[rows[cell[0]] == cell[1]]
        whole = answers if cell[0] == "all" else answers[answers[cell[0]] == cell[1]]
        # a resample that lost a whole sub-dataset of the cell has no macro mean
        return (
            np.nan if statistic is macro and chosen.dataset.nunique() < whole.dataset.nunique() else statistic(chosen)
        )

    expected = loop_bootstrap(answers, of_cell, 60, 9)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(expected), abs=1e-6)


def clustered(n_simulations, correlation=0.3, seed=0):
    """Simulated benchmarks, one a 'model': 10 strata, 600 images, 5 answers an image that are correlated.

    Also the true accuracy under both estimands.
    """
    rng = np.random.default_rng(seed)
    sizes, p = np.linspace(30, 90, 10).astype(int), np.linspace(0.95, 0.35, 10)
    stratum = np.repeat(np.arange(10), sizes)
    total = 1 / correlation - 1
    ease = rng.beta(p[stratum] * total, (1 - p[stratum]) * total, (n_simulations, len(stratum)))
    correct = rng.random((n_simulations, len(stratum), 5)) < ease[..., None]
    table = pd.MultiIndex.from_product(map(range, correct.shape), names=["model", "image_id", "question"])
    table = table.to_frame(index=False).assign(level="coarse", wording=1, n_options=4, correct=correct.ravel())
    truth = {"micro": float(p[stratum].mean()), "macro": float(p.mean())}
    return table.assign(dataset=stratum[table.image_id], question="all"), truth


@pytest.fixture(scope="module")
def simulated():
    answers, truth = clustered(800)
    return resamples(500)(stats.score)(answers, by=()), truth


@pytest.mark.parametrize("estimand", ["micro", "macro"])
def test_cluster_bootstrap_covers(simulated, estimand):
    scores, truth = simulated[0][simulated[0].estimand == estimand], simulated[1][estimand]
    assert len(scores) == 800 and set(scores.interval) == {"bootstrap"}
    covered = ((scores.ci_low <= truth) & (truth <= scores.ci_high)).mean()
    assert 0.93 <= covered <= 0.97


def test_an_interval_over_questions_would_not_cover(simulated):
    scores, truth = simulated[0][simulated[0].estimand == "micro"], simulated[1]["micro"]
    low, high = stats.wilson(scores.estimate * scores.n_questions, scores.n_questions)
    assert ((low <= truth) & (truth <= high)).mean() < 0.9


@pytest.mark.parametrize(("n", "p"), [(20, 0.9), (50, 0.9)])
def test_wilson_of_a_single_cell_covers(n, p):
    k = np.arange(n + 1)
    cells = pd.concat([table_of(f"{i:03}", np.arange(n) < i) for i in k])
    scores = resamples(10)(stats.score)(cells, by=())
    micro = scores[(scores.estimand == "micro") & (scores.question == "all")].sort_values("model")
    inside = (micro.ci_low <= p) & (p <= micro.ci_high)
    assert 0.94 <= binom.pmf(k, n, p) @ inside <= 0.98  # exact: every outcome of the binomial
    assert set(scores.interval) == {"wilson"}


@pytest.mark.parametrize("right", [True, False])
def test_degenerate_cells_keep_a_width(right):
    types = dict.fromkeys(["domain", "stain"], "coarse")
    answers = random_answers(types=types, missing=0).assign(correct=right)
    scores = resamples(50)(stats.score)(answers, by=FACETS).query("interval != 'withheld'")
    assert (scores.estimate == right).all() and set(scores.question) == {"domain", "stain", "all"}
    assert (scores.ci_high - scores.ci_low > 0.05).all()
    # several answers of one image count as one, and a mean over sub-datasets is as firm as its smallest let it be
    low, high = stats.wilson(scores.n_images * right, scores.n_images)
    pooled = scores.estimand == "micro"
    assert np.allclose(scores.ci_low[pooled], low[pooled]) and np.allclose(scores.ci_high[pooled], high[pooled])
    assert (scores.ci_low <= low + 1e-9).all() and (scores.ci_high >= high - 1e-9).all() and not pooled.all()


def test_a_mean_without_scatter_is_as_wide_as_its_parts_allow():
    """Sub-datasets of 60 and 12 images, all right: the mean scatters as that of 40 images, not of 72."""
    answers = pd.concat([table_of("a", [1] * n, name) for name, n in (("apple", 60), ("beech", 12))])
    found = (
        indexed(resamples(50)(stats.score)(answers, by=())).xs("all", level="question").xs("macro", level="estimand")
    )
    assert found.ci_low.tolist() == pytest.approx([stats.wilson(40, 40)[0].item()])
    both = pd.concat([answers, answers.assign(model="b")])
    macro = stats.contrast(both, {"b": 1, "a": -1}, "macro")
    assert macro["ci_high"] == pytest.approx(stats.wilson(0, 40)[1].item())


def test_cells_that_no_resample_moves_keep_a_width():
    half = [table_of("a", [value] * 12, question=name, level="coarse") for name, value in (("x", True), ("y", False))]
    pooled = indexed(resamples(50)(stats.score)(pd.concat(half), by=())).xs("all", level="question")
    assert (pooled.estimate == 0.5).all() and (pooled.ci_high - pooled.ci_low > 0.3).all()


def test_a_mean_over_sub_datasets_of_too_few_images_is_withheld():
    def scored(*sizes):
        models = [[table_of(m, np.arange(n) % 2 == 0, f"set {i}") for i, n in enumerate(sizes)] for m in "ab"]
        answers = pd.concat(models[0] + models[1])
        tables = stats.score(answers, by=["dataset"]), stats.compare(answers, "a", "b", by=["dataset"])
        change = stats.contrast(answers, {"b": 1, "a": -1}, "macro")
        whole = [table[(table.by == "all") & (table.estimand == "macro")] for table in tables]
        kept = [table[(table.by != "all") | (table.estimand != "macro")] for table in tables]
        assert all(table[["estimate", "ci_low"]].notna().all(axis=None) for table in kept)
        kinds = {*whole[0].interval, *whole[1].interval, change["interval"]}
        empty = {*whole[0].ci_low.isna(), *whole[1].estimate.isna(), np.isnan(change["estimate"])}
        assert len(empty) == 1 and empty == {"withheld" in kinds} and (len(kinds) == 1 or "withheld" not in kinds)
        return "withheld" in kinds

    with resamples(50):
        assert scored(1, 60, 60) and scored(2, 60, 60) and scored(1, 1) and scored(3, 3, 3)
        assert not (scored(1) or scored(2) or scored(5, 5) or scored(3, 3, 3, 3))


# ---------------------------------------------------------------------------------------------------- compare


def flips_by_hand(answers, base, tuned, by):
    """The comparison without intervals, from a wide table."""
    key = ["dataset", "image_id", "question", "wording"]
    facets = answers.drop(columns=["model", "correct"]).drop_duplicates(key)
    wide = answers.pivot(index=key, columns="model", values="correct")[[base, tuned]].dropna().astype(int)
    rows = wide.reset_index().merge(facets, on=key).assign(step=lambda t: t[tuned] - t[base])
    rows = pd.concat([rows, rows.assign(question="all")])
    rows = pd.concat([rows.assign(by="all", slice="all"), *(rows.assign(by=f, slice=rows[f]) for f in by)])
    cells = rows.groupby(stats.CELL)
    by_set = rows.groupby([*stats.CELL, "dataset"])[[base, tuned]].mean().groupby(stats.CELL).mean()
    return pd.DataFrame(
        {
            "lost": cells.step.agg(lambda step: (step < 0).sum()),
            "gained": cells.step.agg(lambda step: (step > 0).sum()),
            "n_questions": cells.size(),
            "n_images": cells.apply(lambda cell: len(cell[["dataset", "image_id"]].drop_duplicates())),
            "base_micro": cells[base].mean(),
            "tuned_micro": cells[tuned].mean(),
            "few": cells.apply(too_few),
            "base_macro": by_set[base],
            "tuned_macro": by_set[tuned],
        }
    ).sort_index()


def test_compare_is_the_plain_reference():
    answers = random_answers(seed=2, missing=0.2)
    found = resamples(20)(stats.compare)(answers, "a", "c", by=FACETS).set_index(stats.CELL).sort_index()
    expected = flips_by_hand(answers, "a", "c", FACETS)
    for estimand in stats.ESTIMANDS:
        rows = found[found.estimand == estimand]
        assert list(rows.index) == list(expected.index) and len(rows) > 80
        for column in ("lost", "gained", "n_questions", "n_images"):
            assert (rows[column] == expected[column]).all()
        few = expected.few & (estimand == "macro")
        assert (rows.interval.eq("withheld") == few).all() and expected.few.any()
        for column, of in (("reference_accuracy", "base"), ("model_accuracy", "tuned")):
            assert np.allclose(rows[column], expected[f"{of}_{estimand}"].mask(few), atol=1e-6, equal_nan=True)
        change = rows.model_accuracy - rows.reference_accuracy
        assert np.allclose(rows.estimate, change, atol=1e-6, equal_nan=True)
        single = rows.n_questions == rows.n_images
        assert (rows.p.isna() == ~single).all() and single.any() and not single.all()
        n = (expected.lost + expected.gained)[single]
        p = np.minimum(1, 2 * binom.cdf(np.minimum(expected.lost, expected.gained)[single], n, 0.5))
        assert np.allclose(rows.p[single], p)


def test_compare_is_antisymmetric():
    answers = random_answers(seed=3)
    there, back = (resamples(40, 1)(stats.compare)(answers, *pair, by=FACETS) for pair in ("ab", "ba"))
    for one, other in (
        ("lost", "gained"),
        ("reference_accuracy", "model_accuracy"),
        ("p", "p"),
        ("n_images", "n_images"),
    ):
        pd.testing.assert_series_equal(there[one], back[other], check_names=False)
    for one, other in (("estimate", "estimate"), ("ci_low", "ci_high"), ("ci_high", "ci_low")):
        assert np.allclose(there[one], -back[other], atol=1e-6, equal_nan=True)


def test_pairs_at_once_are_the_pairs_one_by_one():
    answers = random_answers(seed=3, missing=0)
    pairs = [("a", "b"), ("a", "c"), ("c", "b")]
    found = resamples(40, 1)(stats.compare_pairs)(answers, [*pairs, ("a", "nobody")], by=FACETS)
    assert list(found.columns[:2]) == ["reference", "model"] and "nobody" not in set(found.model)
    for (base, tuned), rows in found.groupby(["reference", "model"]):
        alone = resamples(40, 1)(stats.compare)(answers, base, tuned, by=FACETS)
        pd.testing.assert_frame_equal(rows[alone.columns].reset_index(drop=True), alone)


def test_pairs_keep_their_own_questions():
    answers = random_answers(seed=3, missing=0.3)
    found = resamples(10)(stats.compare_pairs)(answers, [("a", "b"), ("a", "c")], by=["organism"])
    for tuned, rows in found.groupby("model"):
        alone = resamples(10)(stats.compare)(answers, "a", tuned, by=["organism"])
        for column in ("n_questions", "n_images", "lost", "gained", "reference_accuracy", "model_accuracy", "estimate"):
            assert np.allclose(rows[column], alone[column], equal_nan=True), column


def test_compare_of_equal_models_is_zero():
    twin = random_answers(seed=5, models=("a",))
    found = resamples(40)(stats.compare)(pd.concat([twin, twin.assign(model="b")]), "a", "b", by=FACETS)
    found = found[found.interval != "withheld"]
    assert (found[["estimate", "lost", "gained"]] == 0).all(axis=None)
    assert ((found.ci_low <= 0) & (found.ci_high >= 0)).all() and (found.p.dropna() == 1).all()


def test_paired_interval_is_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    base = random_answers(seed=6, models=("a",), missing=0)
    tuned = base.assign(model="b", correct=base.correct ^ (rng.random(len(base)) < 0.05))
    answers = pd.concat([base, tuned])
    scores = stats.score(answers, by=())
    scores["width"] = scores.ci_high - scores.ci_low
    unpaired = scores.groupby([*stats.CELL, "estimand"]).width.agg(lambda width: np.sqrt((width**2).sum()))
    paired = stats.compare(answers, "a", "b", by=()).set_index([*stats.CELL, "estimand"])
    assert ((paired.ci_high - paired.ci_low) < 0.6 * unpaired.reindex(paired.index)).all()


def test_paired_interval_keeps_a_width_where_all_flip():
    answers = pd.concat([table_of("a", [0] * 3), table_of("b", [1] * 3)])
    found = resamples(50)(stats.compare)(answers, "a", "b", by=())
    change = resamples(50)(stats.contrast)(answers, {"b": 1, "a": -1})
    assert (found.ci_low < 0.9).all() and change["ci_low"] < 0.9


def test_compare_without_a_shared_question_is_empty():
    answers = pd.concat([table_of("a", [1, 0]), table_of("b", [1, 0], dataset="beech")])
    found = stats.compare(answers, "a", "b", by=["dataset"])
    assert found.empty and {"estimate", "ci_low", "lost", "p"} <= set(found.columns)


# --------------------------------------------------------------------------------------------------- contrast


def test_contrast_of_a_straight_line_is_zero():
    def curve(middle):  # two questions an image; the base fails both, the tuned model neither, the middle one
        models = {"base": (0, 0), "middle": middle, "tuned": (1, 1)}
        parts = [
            table_of(m, [v] * 20, question=q) for m, right in models.items() for q, v in zip("xy", right, strict=True)
        ]
        return resamples(50)(stats.contrast)(pd.concat(parts), {"middle": 1, "base": -0.5, "tuned": -0.5})

    line = curve((1, 0))
    assert line["estimate"] == pytest.approx(0) and line["ci_low"] <= 0 <= line["ci_high"]
    assert (line["n_questions"], line["n_images"]) == (40, 20)
    assert curve((1, 1))["estimate"] == pytest.approx(0.5) and curve((0, 0))["estimate"] == pytest.approx(-0.5)


@settings(relaxed, max_examples=12)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.sampled_from(stats.ESTIMANDS))
def test_contrast_is_linear(factors, estimand):
    answers = random_answers(missing=0, types={"domain": "coarse"})
    weights = dict(zip("abc", factors, strict=True))
    found = resamples(10)(stats.contrast)(answers, weights, estimand)
    single = [resamples(10)(stats.contrast)(answers, {model: 1}, estimand)["estimate"] for model in weights]
    assert found["estimate"] == pytest.approx(np.dot(factors, single), abs=1e-5)
    turned = resamples(10)(stats.contrast)(answers, {model: -factor for model, factor in weights.items()}, estimand)
    assert (-turned["ci_high"], -turned["ci_low"]) == pytest.approx((found["ci_low"], found["ci_high"]), abs=1e-5)


def test_contrast_without_a_shared_question_says_so():
    answers = pd.concat([table_of("a", [1, 0]), table_of("b", [1, 0], dataset="beech")])
    found = stats.contrast(answers, {"a": 1, "b": -1})
    assert np.isnan([found[key] for key in ("estimate", "ci_low", "ci_high")]).all()
    assert found["n_questions"] == found["n_images"] == 0


def test_wordings_are_compared_question_by_question():
    """The paired difference between two wordings, counted by hand."""
    answers = random_answers(seed=3, models=("a", "b"))
    table = stats.compare_wordings(answers, by=["scale"])
    assert set(table.model) == {"a", "b"} and set(table.wording) == {0}
    keys = ["dataset", "image_id", "question"]
    wide = answers[answers.model == "a"].pivot(index=keys, columns="wording", values="correct").dropna()
    scale = answers.drop_duplicates(["dataset", "image_id"]).set_index(["dataset", "image_id"]).scale
    tissue = wide[scale.reindex(wide.index.droplevel(2)).to_numpy() == "tissue"].xs("domain", level="question")
    row = table[
        (table.model == "a")
        & (table.by == "scale")
        & (table.slice == "tissue")
        & (table.question == "domain")
        & (table.estimand == "micro")
    ].iloc[0]
    assert row.n_questions == len(tissue)
    assert row.estimate == pytest.approx(tissue[0].mean() - tissue[1].astype(float).mean())
    assert row.ci_low <= row.estimate <= row.ci_high
    assert stats.compare_wordings(answers[answers.wording == 1]).empty
