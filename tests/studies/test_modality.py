"""What a model prefers: attraction, informedness, blank images; closed forms, counts, constructed models."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import NAMES

from ubench_utils.data.questions import NO_CHOICE
from ubench_utils.models.answers import best_options
from ubench_utils.report import sentences, tables
from ubench_utils.report.text import coefficient, percent
from ubench_utils.statistics.resampling import resamples
from ubench_utils.studies import modality


def choices_of(chosen, truth, model="demo-base", labels=None, question="modality", level="coarse", dataset=None):
    """Rows as of ``join_answers``: one question an image; ``chosen`` and ``truth`` are labels."""
    n = len(truth)
    labels = [NAMES] * n if labels is None else labels
    rows = pd.DataFrame(
        {
            "model": model,
            "dataset": [f"set {i % 3}" for i in range(n)] if dataset is None else dataset,
            "image_id": [f"{i:04}" for i in range(n)],
            "level": level,
            "question": question,
            "wording": 1,
            "labels": labels,
            "chosen": chosen,
            "right": truth,
            "n_options": [len(names) for names in labels],
        }
    )
    rows["predicted_idx"] = [names.index(name) for names, name in zip(rows.labels, rows.chosen, strict=True)]
    rows["answer_idx"] = [names.index(name) for names, name in zip(rows.labels, rows.right, strict=True)]
    return rows.assign(correct=rows.chosen == rows.right)


def wrong_answers(n, weights, seed, model="demo-base"):
    """Answers that are all wrong, the wrong options chosen in proportion to their weights, options shuffled."""
    rng = np.random.default_rng(seed)
    names = np.array([f"option {i}" for i in range(len(weights))])
    chosen = rng.choice(names, n, p=np.asarray(weights) / np.sum(weights))
    labels = [(*rng.permutation([*names, "truth"]),) for _ in range(n)]
    return choices_of(chosen, ["truth"] * n, model, labels)


# -------------------------------------------------------------------------------------------------- attraction


def test_uniform_errors_attract_alike():
    table = modality.attraction(wrong_answers(4000, np.ones(5), 1))
    assert len(table) == 5 and np.allclose(table.expected, 800) and table.observed.sum() == 4000
    assert np.abs(table.estimate - 1).max() < 4 * np.sqrt(0.8 / 800)  # four standard errors of a binomial
    assert ((table.ci_low < 1) & (table.ci_high > 1)).sum() >= 4 and (table.ci_high - table.ci_low).max() < 0.2


@pytest.mark.parametrize("k", [2, 3])
def test_an_option_that_attracts_k_times_has_the_ratio_of_its_closed_form(k):
    """Of m wrong options one weighs k times another: it takes k / (k + m − 1) of the errors, an even part is 1 / m."""
    table = modality.attraction(wrong_answers(6000, [k, 1, 1, 1, 1], 2)).set_index("option")
    expected = 5 * k / (k + 4)
    assert table.estimate["option 0"] == pytest.approx(expected, rel=0.05)
    assert table.ci_low["option 0"] < expected < table.ci_high["option 0"]
    others = table.drop(index="option 0")
    odds = table.observed["option 0"] / others.observed.mean()
    assert odds == pytest.approx(k, rel=0.08) and (others.ci_high < 1.05).all()


def random_choices(seed=3, n=240):
    """Two models on two question types, options that differ between images and in number."""
    rng = np.random.default_rng(seed)
    parts = []
    for question, pool in (("stain", 8), ("domain", 6)):
        names = [f"{question} {i}" for i in range(pool)]
        labels = [(*rng.permutation(names)[: rng.integers(3, 6)],) for _ in range(n)]
        truth = [names[rng.integers(len(names))] for names in labels]
        for model in ("demo-base", "demo-pathology"):
            chosen = [names[rng.integers(len(names))] for names in labels]
            parts.append(choices_of(chosen, truth, model, labels, question))
    return pd.concat(parts, ignore_index=True)


def test_attraction_agrees_with_a_plain_count():
    choices = random_choices()
    table = modality.attraction(choices).set_index(["model", "question", "option"])
    counted = {}
    for row in choices[~choices.correct].itertuples():
        for option in set(row.labels) - {row.right}:
            for question in (row.question, "all"):
                found = counted.setdefault((row.model, question, option), [0, 0.0, 0])
                found[0] += option == row.chosen
                found[1] += 1 / (len(row.labels) - 1)
                found[2] += 1
    assert set(table.index) == set(counted)
    for key, (observed, expected, n) in counted.items():
        row = table.loc[key]
        assert (row.observed, row.n_questions) == (observed, n) and row.expected == pytest.approx(expected)
        assert row.estimate == pytest.approx(observed / expected) and row.ci_low <= row.estimate <= row.ci_high
    pooled = table.reset_index().groupby(["model", "question"])[["observed", "expected"]].sum()
    assert np.allclose(pooled.observed, pooled.expected)  # every error is somewhere


def shuffled(choices, seed=4):
    """The same answers with rows and options in another order."""
    rng = np.random.default_rng(seed)
    rows = choices.sample(frac=1, random_state=seed).reset_index(drop=True)
    rows["labels"] = [(*rng.permutation(names),) for names in rows.labels]
    for index, name in (("predicted_idx", "chosen"), ("answer_idx", "right")):
        rows[index] = [names.index(label) for names, label in zip(rows.labels, rows[name], strict=True)]
    return rows


@pytest.mark.parametrize("statistic", [modality.attraction, lambda c: modality.rates(c, "stain")])
def test_the_order_of_rows_and_options_does_not_matter(statistic):
    choices = random_choices()
    one, other = (statistic(rows) for rows in (choices, shuffled(choices)))
    key = [column for column in ("model", "question", "option", "rate") if column in one]
    one, other = (table.sort_values(key, ignore_index=True) for table in (one, other))
    pd.testing.assert_frame_equal(one, other, check_exact=False, atol=1e-9)


def test_a_reply_without_an_option_is_no_distractor():
    choices = wrong_answers(60, np.ones(3), 5)
    none = choices.head(20).assign(predicted_idx=-1, chosen=NO_CHOICE, image_id=[f"x{i}" for i in range(20)])
    expected, found = (modality.attraction(rows) for rows in (choices, pd.concat([choices, none])))
    assert found.drop(columns=["ci_low", "ci_high"]).equals(expected.drop(columns=["ci_low", "ci_high"]))


def test_a_class_that_a_model_did_not_answer_has_no_row():
    a = choices_of(["light"] * 4, ["light"] * 4, labels=[("light", "electron")] * 4).assign(modality="light")
    both = choices_of(["light"] * 3, ["electron"] * 3, "demo-pathology", [("light", "electron")] * 3)
    table = modality.confusion(pd.concat([a, both.assign(modality="electron")]), ["demo-base", "demo-pathology"])
    assert table[["model", "truth"]].drop_duplicates().to_numpy().tolist() == [
        ["demo-base", "light"],
        ["demo-pathology", "electron"],
    ]
    assert table.groupby(["model", "truth"]).estimate.sum().tolist() == [1, 1]


def test_no_error_no_attraction():
    right = choices_of(NAMES[:3] * 4, NAMES[:3] * 4)
    table = modality.attraction(right)
    assert table.empty and list(table) == modality.ATTRACTION


def test_a_cell_without_variation_keeps_an_interval():
    always = choices_of(["none of the above"] * 30, ["light microscopy"] * 30)
    table = modality.attraction(always).set_index("option")
    assert table.estimate["none of the above"] == 3 and 2 < table.ci_low["none of the above"] < 3
    assert table.estimate["electron microscopy"] == 0 and table.ci_high["electron microscopy"] > 0.1


def test_text_of_one_option():
    table = modality.attraction(random_choices())
    cell = (coefficient, "estimate", "ci_low", "ci_high")
    text = tables.wide(table[table.option == "stain 1"], {"model": "model"}, "question", cell).set_index("model")
    assert list(text) == ["all", "stain"] and list(text.index) == ["demo-base", "demo-pathology"]
    row = table.set_index(["model", "question", "option"]).loc[("demo-base", "stain", "stain 1")]
    assert text["stain"]["demo-base"] == f"{row.estimate:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"


# ------------------------------------------------------------------------------------------------------- rates


def of(table, rate, option, model="demo-base"):
    found = table[(table.model == model) & (table.rate == rate) & (table.option == option)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("always", NAMES[:3])
def test_a_model_that_always_says_one_thing_is_not_informed(always):
    truth = list(np.repeat(NAMES[:3], [50, 30, 20]))
    table = modality.rates(choices_of([always] * 100, truth))
    for option in NAMES[:3]:
        row = of(table, "informedness", option)
        assert row.estimate == 0 and row.ci_low < 0 < row.ci_high
        assert of(table, "recall", option).estimate == of(table, "false alarm", option).estimate == (option == always)


def test_a_perfect_model_is_informed():
    truth = list(np.repeat(NAMES[:3], [50, 30, 20]))
    table = modality.rates(choices_of(truth, truth))
    for option in NAMES[:3]:
        row = of(table, "informedness", option)
        assert row.estimate == 1 and 0.7 < row.ci_low < 1 and row.ci_high == pytest.approx(1)


def test_rates_agree_with_a_plain_count():
    rng = np.random.default_rng(6)
    truth, chosen = rng.choice(NAMES[:3], 300, p=[0.5, 0.3, 0.2]), rng.choice(NAMES, 300)
    chosen = np.where(rng.random(300) < 0.4, truth, chosen)
    table = modality.rates(choices_of(chosen, truth))
    assert table[table.rate == "share"].estimate.sum() == pytest.approx(1)
    assert table[table.rate == "truth"].estimate.sum() == pytest.approx(1)
    for option in NAMES[:3]:
        recall, false = (chosen[truth == option] == option).mean(), (chosen[truth != option] == option).mean()
        expected = {
            "share": (chosen == option).mean(),
            "truth": (truth == option).mean(),
            "recall": recall,
            "false alarm": false,
            "informedness": recall - false,
        }
        for rate, value in expected.items():
            row = of(table, rate, option)
            assert row.estimate == pytest.approx(value) and row.n_questions == {
                "recall": (truth == option).sum(),
                "false alarm": (truth != option).sum(),
            }.get(rate, 300)
    none = table[table.option == NAMES[3]]
    assert set(none.rate) == {"share", "truth", "false alarm"}  # never right: nothing to tell apart


def test_intervals_of_informedness_cover():
    """Three modalities, 40 images each: the interval holds the true value about as often as it says."""
    truth, n = np.repeat(NAMES[:3], 40), 400
    rng = np.random.default_rng(9)
    tell = 0.6  # informed in 60 % of the images, else a guess that prefers light
    guess = rng.choice(NAMES, (n, 120), p=[0.6, 0.1, 0.1, 0.2])
    chosen = np.where(rng.random((n, 120)) < tell, truth, guess)
    table = resamples(400)(modality.rates)(
        pd.concat([choices_of(row, truth, f"study {i}") for i, row in enumerate(chosen)])
    )
    table = table[table.rate == "informedness"]
    for option in NAMES[:3]:
        rows = table[table.option == option]
        assert len(rows) == n
        assert rows.estimate.mean() == pytest.approx(tell, abs=0.02)
        assert 0.90 < ((rows.ci_low <= tell) & (tell <= rows.ci_high)).mean() < 0.99


# ------------------------------------------------------------------------------------------------- calibration


def scores_of(truth, bias, seed=7):
    """Informative scores of every option, and the same with a constant added to each option's."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(0, 0.3, (len(truth), 4)).astype(np.float32).round(3)
    plain[np.arange(len(truth)), [NAMES.index(name) for name in truth]] += np.float32(0.5)
    return plain, plain + np.asarray(bias, np.float32)


def test_subtracting_a_known_preference_recovers_the_unbiased_answers():
    truth = list(np.repeat(NAMES[:3], 40))
    bias = np.array([4, 0.25, 0, 0.5])  # always light; in powers of two
    plain, biased = (np.round(scores * 1024) / 1024 for scores in scores_of(truth, bias))
    rows = np.tile(np.arange(4), (120, 1))
    unbiased, preferred = best_options(plain, rows), best_options(biased, rows)
    blank = np.tile(bias.astype(np.float32), (120, 1))
    recovered = modality.subtracted(biased.astype(np.float32), blank)
    assert recovered.dtype == np.float32
    assert (best_options(recovered, rows) == unbiased).all() and (preferred == 0).all()

    choices = choices_of([NAMES[i] for i in preferred], truth)
    choices = choices.assign(after=[NAMES[i] for i in unbiased])
    before, change = modality.rates(choices), modality.rate_changes(choices, "after")
    calibrated = modality.rates(choices.assign(chosen=choices.after))
    for option in NAMES[:3]:
        row = of(change, "informedness", option)
        assert of(before, "informedness", option).estimate == 0 and row.ci_low > 0.3
        assert row.estimate == pytest.approx(of(calibrated, "informedness", option).estimate)
    reading = read(modality.verdicts(before, change.assign(reference="grey")))
    assert "not shown to be told apart" in reading and "a preference hides" in reading


def test_absent_options_stay_absent():
    score = np.array([[0.1, 0.2, -np.inf], [0.3, 0.1, 0.2]], np.float32)
    found = modality.subtracted(score, np.array([[0.0, 0.3, -np.inf], [0.3, 0.0, 0.2]], np.float32))
    assert found[0, 2] == -np.inf and not np.isnan(found).any()
    assert list(best_options(found, np.array([[0, 1, -1], [0, 1, 2]]))) == [0, 1]


def test_changes_are_paired():
    rng = np.random.default_rng(8)
    truth = rng.choice(NAMES[:3], 200)
    choices = choices_of(rng.choice(NAMES, 200), truth)
    same = modality.changes(choices, choices.correct)
    assert (same.estimate == 0).all() and (same.ci_low < 0).all()
    after = choices.correct ^ (rng.random(200) < 0.3)
    table = modality.changes(choices, after)
    assert table.estimate.iloc[0] == pytest.approx(after.mean() - choices.correct.mean())


# --------------------------------------------------------------------------------------------------- sentences


def read(verdicts):
    return sentences.sentence("verdict", "reading", row=verdicts.to_dict("records")[0])


def informed(verdicts):
    return sentences.sentence("modality", "informed", readings=modality.readings(verdicts))


def one_change(value, half, reference, option=NAMES[2], model="demo-base"):
    return {
        "model": model,
        "option": option,
        "rate": "informedness",
        "estimate": value,
        "ci_low": value - half,
        "ci_high": value + half,
        "n_questions": 100,
        "reference": reference,
    }


@pytest.mark.parametrize(("informedness", "known"), [(0.5, "told apart"), (0.05, "not shown"), (-0.5, "less often")])
@pytest.mark.parametrize(
    ("grey", "mean", "hidden"),
    [
        (0.3, 0.3, "hides some of it"),
        (0.3, 0.0, "by the grey only"),
        (0, 0.3, "mean image only"),
        (-0.3, 0, "no sign"),
    ],
)
def test_the_verdict_claims_what_the_intervals_carry(informedness, known, grey, mean, hidden):
    rates = pd.DataFrame(
        [
            {**one_change(informedness, 0.1, ""), "rate": "informedness"},
            {**one_change(0.2, 0.1, ""), "rate": "recall"},
            one_change(0.9, 0.1, "", NAMES[0]),
            {**one_change(0.9, 0.1, "", NAMES[0]), "rate": "recall"},
        ]
    )
    changed = pd.DataFrame(
        [one_change(grey, 0.1, "grey"), one_change(mean, 0.1, "mean image"), one_change(0.9, 0.1, "grey", NAMES[0])]
    )
    table = modality.verdicts(rates, changed)
    assert len(table) == 1 and table.option[0] == NAMES[2]
    assert known in read(table) and hidden in read(table)
    sentence = informed(table)
    number = percent(informedness, informedness - 0.1, informedness + 0.1)
    assert sentence.endswith(".") and number in sentence and read(table) in sentence
    alone = read(modality.verdicts(rates, changed.iloc[:0]))
    assert known in alone and "preference" not in alone


def test_nothing_is_said_of_a_guesser_or_of_one_modality():
    rng = np.random.default_rng(11)
    truth = rng.choice(NAMES[:3], 60)
    random = modality.rates(choices_of(rng.choice(NAMES, 60), truth, "random"))
    one = modality.rates(choices_of(rng.choice(NAMES, 60), [NAMES[0]] * 60))
    for table in (random, one, modality.rates(choices_of([], []))):
        verdicts = modality.verdicts(table, pd.DataFrame(columns=[*modality.RATES, "reference"]))
        assert verdicts.empty and "no model" in informed(verdicts)


# ---------------------------------------------------------------------------------------------------- figures


def test_the_most_attractive_come_first_and_few_choices_say_nothing():
    rng = np.random.default_rng(10)
    table = pd.DataFrame(
        {
            "model": "demo-base",
            "level": "fine",
            "question": "classification",
            "option": [f"o{i}" for i in range(20)],
            "observed": 40,
            "expected": 10.0,
            "estimate": rng.permutation(np.linspace(0.5, 4, 20)),
            "n_questions": 50,
            "n_images": 50,
        }
    )
    table = table.assign(ci_low=table.estimate - 0.3, ci_high=table.estimate + 0.3)
    table.loc[table.estimate == 4, "expected"] = 1.0  # too few to say
    best = table[table.expected > 5].nlargest(12, "estimate")
    assert modality.most_attractive(table).row.tolist() == [f"classification: {option}" for option in best.option]


def test_figures_of_nothing_have_no_rows():
    empty = pd.DataFrame(columns=[*modality.ATTRACTION, "rate"])
    assert modality.most_attractive(empty).empty and modality.with_truth(empty).empty
    nothing = pd.DataFrame(columns=["question", "wording", "model", "chosen", "modality"])
    assert modality.confusion(nothing, [], "modality").empty
