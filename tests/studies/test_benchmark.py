"""What is in a benchmark: compositions add up, and rules that look at no image score what a count by hand gives."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import png

from ubench_utils.data.questions import NONE_OF_THE_ABOVE
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.statistics.scores import wilson
from ubench_utils.studies import benchmark as explore
from ubench_utils.studies import duplicates


def answer(run, copies):
    found = sentences.about(run) | explore.numbers(run) | {"copies": duplicates.totals(copies)}
    return sentences.sentence("benchmark", "answer", **found)


def leaks_of(options):
    return sentences.sentence("benchmark", "options", **explore.leaks(options))


def source_of(scores):
    return sentences.sentence("benchmark", "source", by_source=explore.of_source(scores))


@pytest.fixture
def run(rows, parquet, cache):
    return evaluate(parquet(rows), ["random"])


def asked(images, options, answer, question="domain", level="coarse", wording=1):
    """Questions of ``images`` (dataset, image_id) that all have the same options and answer."""
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "image_id": image_id,
                "question": question,
                "level": level,
                "wording": wording,
                "options": tuple(options),
                "labels": tuple(options),
                "answer_idx": answer,
                "n_options": len(options),
            }
            for dataset, image_id in images
        ]
    )


def images(n, dataset="a"):
    return [(dataset, f"{i}") for i in range(n)]


def at(scores, rule, question="domain"):
    return scores[(scores.rule == rule) & (scores.question == question)].squeeze()


def test_every_facet_adds_up_to_all_images(run):
    table = explore.composition(run.benchmark.images)
    assert list(table.facet.unique()) == explore.SHOWN_FACETS
    assert (table.groupby("facet").images.sum() == 40).all()
    light = table[table.value == "light microscopy"].squeeze()
    own = run.benchmark.images[run.benchmark.images.modality == "light microscopy"]
    assert (light.images, light.datasets) == (len(own), own.dataset.nunique())
    assert explore.crossing(run.benchmark.images).images.sum() == 40


def test_one_sub_dataset_gives_one_row_a_facet(rows, parquet, cache):
    run = evaluate(parquet([row for row in rows if row["dataset"] == "demo_colon"]), ["random"])
    table = explore.composition(run.benchmark.images)
    assert list(table.facet) == explore.SHOWN_FACETS and (table.images == 4).all() and (table.datasets == 1).all()
    assert len(explore.subdatasets(duplicates.look(run.benchmark), run.questions)) == 1
    assert "4 images of 1 sub-dataset, 1 modality" in answer(run, duplicates.counts({}))


def test_sub_datasets_are_described_from_their_rows(rows, parquet, cache):
    for row in rows:
        if row["dataset"] == "demo_mitosis":
            row["microns_per_pixel"] = None
        if row["dataset"] == "demo_colon":
            row["microns_per_pixel"] = 0.5
    rows[[row["dataset"] for row in rows].index("demo_colon")]["image"] = png(np.zeros((64, 128, 3), np.uint8))
    run = evaluate(parquet(rows), ["random"])
    table = explore.subdatasets(duplicates.look(run.benchmark), run.questions).set_index("dataset")
    assert (table.images == 4).all() and len(table) == 10
    ends = ["pixel_low", "pixel_high", "field_low", "field_high"]
    assert table.loc["demo_mitosis", ends].isna().all()
    assert table.loc["demo_colon", ends].tolist() == [0.5, 0.5, 32, 64]
    fine = run.questions[(run.questions.question == "classification") & (run.questions.dataset == "demo_colon")]
    assert table.loc["demo_colon", "chance_fine"] == pytest.approx((1 / fine.n_options).mean())


def test_chance_is_one_over_the_options(run):
    table = explore.chance(run.questions).set_index("question")
    assert list(table.index) == ["domain", "subdomain", "modality", "submodality", "stain", "classification"]
    assert list(table.loc["modality", ["options_low", "options_high", "chance", "images"]]) == [4, 4, 0.25, 40]
    assert (table.offered == 1).all() and (table.right == 0).all()
    mixed = pd.concat([asked(images(3), "ab", 0), asked(images(1, "b"), ["a", NONE_OF_THE_ABOVE, "c", "d"], 1)])
    row = explore.chance(mixed).squeeze()
    assert list(row[["options_low", "options_high", "chance", "right"]]) == [2, 4, 0.4375, 0.25]


def test_a_question_counts_once_whatever_its_wordings(run):
    unique = run.questions.drop_duplicates(["dataset", "image_id", "question"])
    assert len(explore.once(run.questions)) == len(unique) and (explore.once(run.questions).wording == 1).all()
    only = run.questions[run.questions.wording == 0]
    assert len(explore.once(only)) == len(only)


def test_rules_score_what_a_count_by_hand_gives():
    nota = NONE_OF_THE_ABOVE
    questions = pd.concat(
        [
            asked(images(6), ["aaa", "b", "cc", nota], 0),  # the answer is the longest and the first
            asked(images(4, "b"), ["a", "bbb", "ccc", nota], 2),  # one of two longest
        ]
    )
    scores = explore.shortcuts(questions)
    expected = {
        "longest option": (6 + 4 / 2) / 10,
        "shortest option": 0,
        "first option": 6 / 10,
        explore.ELIMINATION: 1 / 3,
    }
    assert {rule: at(scores, rule).estimate for rule in expected} == pytest.approx(expected)
    assert (scores.chance == 0.25).all() and (scores.n_questions == 10).all() and (scores.n_images == 10).all()
    assert set(scores.question) == {"domain"}  # the only type of its level has no second row
    assert at(scores, "longest option").over == pytest.approx(0.8 - 1 / 3)


def test_a_leak_by_length_is_named_and_luck_is_not():
    leak = explore.shortcuts(asked(images(60), ["a", "a longer one", "bb", NONE_OF_THE_ABOVE], 1))
    line = leaks_of(leak)
    assert (
        "leak the answer in 1 of 3 comparisons: the longest" in line
        and "the longest option is right in 100.0 %" in line
    )
    assert "from 25.0 to 33.3 %" in line
    rng = np.random.default_rng(0)
    options = ["a", "bb", "ccc", NONE_OF_THE_ABOVE]
    fair = pd.concat(
        [
            asked([("a", f"{i}")], rng.permutation(options[:3]).tolist() + options[3:], rng.integers(3))
            for i in range(300)
        ]
    )
    assert "one of 3 comparisons shows a leak" in leaks_of(explore.shortcuts(fair))
    without = explore.shortcuts(asked(images(60), ["aa", "bb"], 1))
    assert "Never choosing" not in leaks_of(without)


def test_one_image_is_no_proof_of_a_leak():
    scores = explore.shortcuts(asked(images(1), ["a", "bbb", "cc", NONE_OF_THE_ABOVE], 1))
    row = at(scores, "longest option")
    assert row.estimate == 1 and row.over_low < 0 and (row.ci_low, row.ci_high) == tuple(map(float, wilson(1, 1)))
    assert "one of 3" in leaks_of(scores)


def test_the_source_gives_away_what_is_constant_in_it():
    sets = {"a": 9, "b": 2, "c": 3}
    questions = pd.concat([asked(images(n, name), ["x", "y", "z"], at) for at, (name, n) in enumerate(sets.items())])
    scores = explore.source_shortcuts(questions)
    own, overall = (at(scores, rule) for rule in explore.SOURCE_RULES)
    assert own.estimate == 1 and own.over == pytest.approx(2 / 3) and overall.estimate == pytest.approx(9 / 14)
    assert "100.0 [" in source_of(scores) and "14 coarse questions" in source_of(scores)


def test_an_image_without_another_half_is_not_answered():
    scores = explore.source_shortcuts(
        pd.concat([asked(images(2), ["x", "y"], 0), asked(images(1, "b"), ["x", "y"], 0)])
    )
    assert at(scores, explore.SOURCE_RULES[0]).estimate == pytest.approx(2 / 3)
    assert at(scores, explore.SOURCE_RULES[1]).estimate == 1


def test_a_rule_is_scored_on_the_half_that_did_not_set_it():
    """However x, x, x, y is halved, the half x, y ties and gives x: three are right."""
    mixed = asked(images(4), ["x", "y"], 0).assign(answer_idx=[0, 0, 0, 1])
    assert at(explore.source_shortcuts(mixed), explore.SOURCE_RULES[0]).estimate == 0.75
    differing = asked(images(2), ["x", "y"], 0).assign(answer_idx=[0, 1])
    assert (explore.source_shortcuts(differing).estimate == 0).all()


def test_copies_of_an_image_are_in_one_half():
    """Twenty pictures, each there twice: the rule scores a pair by the answers of the other pairs."""
    pairs = asked(images(20), ["x", "y"], 0).assign(
        answer_idx=np.arange(20) % 2, image_hash=[f"{i}" for i in range(20)]
    )
    copies = pd.concat([pairs, pairs.assign(image_id="copy of " + pairs.image_id)], ignore_index=True)
    once, twice = (at(explore.source_shortcuts(rows), explore.SOURCE_RULES[1]) for rows in (pairs, copies))
    assert twice.estimate == once.estimate and twice.n_images == once.n_images == 20


@pytest.mark.parametrize("size", [2, 5, 20])
def test_answers_that_know_no_source_give_chance_however_few_the_images(size):
    rng, n = np.random.default_rng(size), 2400
    everyone = [image for number in range(n // size) for image in images(size, f"{number:04}")]
    questions = asked(everyone, "vwxyz", 0).assign(answer_idx=rng.integers(5, size=n))
    scores = explore.source_shortcuts(questions)
    assert scores.estimate.to_numpy() == pytest.approx([0.2, 0.2], abs=4 * np.sqrt(0.2 * 0.8 / n))


def test_source_rules_stay_below_the_count_on_the_same_images(run):
    scores = explore.source_shortcuts(run.questions)
    shuffled = explore.source_shortcuts(run.questions.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(scores, shuffled)
    for question in ("stain", "submodality", "classification"):
        rows = run.questions[(run.questions.question == question) & (run.questions.wording == 1)]
        right = [labels[i] for labels, i in zip(rows.labels, rows.answer_idx, strict=True)]
        counts = pd.crosstab(rows.dataset, pd.Series(right, rows.index))
        for rule, most in zip(explore.SOURCE_RULES, (counts.max(axis=1).sum(), counts.sum().max()), strict=True):
            assert at(scores, rule, question).estimate <= most / len(rows) + 1e-6


def test_images_and_not_questions_are_resampled():
    """Five questions that an image answers alike are no more evidence than one."""
    rng = np.random.default_rng(1)
    right = rng.random(80) < 0.5
    one = pd.concat([asked([("a", f"{i}")], ["x", "y"], int(hit)) for i, hit in enumerate(right)])
    five = pd.concat(
        [one.assign(question=name) for name in ("domain", "subdomain", "modality", "submodality", "stain")]
    )
    hits = {name: pd.DataFrame({"rule": np.tile(right, k).astype(float)}) for name, k in (("one", 1), ("five", 5))}
    single = explore.score_rules(one, hits["one"], np.full(80, 0.5)).squeeze()
    pooled = at(explore.score_rules(five, hits["five"], np.full(400, 0.5)), "rule", "all")
    assert (pooled.n_questions, pooled.n_images) == (400, 80)
    assert pooled.ci_high - pooled.ci_low == pytest.approx(single.ci_high - single.ci_low, rel=0.02)
    assert pooled.over_low == pytest.approx(pooled.ci_low - 0.5, abs=1e-6)


def test_the_answer_line_holds_the_counts(run):
    copies = duplicates.counts({"identical files": duplicates.identical(run.benchmark.images)})
    line = answer(run, copies)
    n = len(run.questions) // 2
    assert f"40 images of 10 sub-datasets, 3 modalities, {n} questions in 2 wordings" in line
    assert "chance 16.7 to 25.0 %; 0 pairs of identical files." in line
