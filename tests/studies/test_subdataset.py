"""One sub-dataset: the rule that no fixed answer beats, what a model can be told from, and what it gets wrong."""

import itertools
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ubench_utils.data.benchmark import Benchmark
from ubench_utils.errors import UserError
from ubench_utils.evaluation.run import Evaluation
from ubench_utils.models.answers import COLUMNS
from ubench_utils.report.sentences import sentences
from ubench_utils.statistics import scores as stats
from ubench_utils.statistics.resampling import resamples
from ubench_utils.studies import subdataset
from ubench_utils.studies.subdataset import RULE

NONE = "none of the above"
CLASSES = ["ant", "bee", "cat", "dog"]


def questions(right, options=None, name="zoo"):
    """Questions on the class, one a picture; each offers all classes where no options are given."""
    labels = options or [(*sorted(set(right)), NONE)] * len(right)
    return pd.DataFrame(
        {
            "dataset": name,
            "image_id": [f"{at:03}.tif" for at in range(len(right))],
            "image_hash": [f"{at:03}" for at in range(len(right))],
            "question": "classification",
            "wording": 1,
            "level": "fine",
            "labels": labels,
            "asked": "What is it?",
            "answer_idx": [of.index(one) for of, one in zip(labels, right, strict=True)],
            "n_options": [len(of) for of in labels],
        }
    )


def run_of(asked, chosen):
    """A run in which each model chose these labels; None is no answer."""
    tables = []
    for model, said in chosen.items():
        given = asked.assign(model=model, said=said, p_answer=np.nan, p_predicted=0.5)
        given = given[given.said.notna()]
        at = [of.index(one) for of, one in zip(given.labels, given.said, strict=True)]
        tables.append(given.assign(predicted_idx=at, correct=given.answer_idx.to_numpy() == np.array(at, dtype=int)))
    predictions = pd.concat(tables)[COLUMNS]
    images = asked[["dataset", "image_id"]].drop_duplicates(ignore_index=True)
    benchmark = Benchmark("mine", None, images, "print")
    record = {"models": {model: {} if model == "random" else {"images_failed": 0} for model in chosen}}
    failures = pd.DataFrame({"model": [], "dataset": [], "image_id": [], "reason": []})
    return Evaluation(benchmark, asked, predictions, failures, record)


def answers_of(run, name="zoo"):
    return subdataset.answers(subdataset.part(run, name))


def told(run, name="zoo"):
    own = subdataset.part(run, name)
    answers = subdataset.answers(own)
    with resamples(200):
        scores, compared = stats.score(answers, by=["right"]), subdataset.comparisons(answers)
        found = subdataset.context(own, answers, scores, compared)
    return sentences("subdataset", **found, sub_dataset=name, sets=[name], n_warnings=0), scores, compared


@st.composite
def drawn_questions(draw):
    right = draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=12))
    options = []
    for one in right:
        others = draw(st.lists(st.sampled_from(CLASSES), max_size=3, unique=True))
        options.append((*draw(st.permutations(sorted({one, *others}))), NONE))
    return right, options


@settings(max_examples=60, deadline=None)
@given(drawn_questions())
def test_no_fixed_answer_beats_the_rule(drawn):
    right, options = drawn
    made = subdataset.most_frequent(questions(right, options))
    assert made.correct.mean() >= max(Counter(right).values()) / len(right)
    said = [of[at] for of, at in zip(options, made.predicted_idx, strict=True)]
    times = Counter(right)
    for one, of in zip(said, options, strict=True):
        assert times[one] == max(times[label] for label in of), "the most frequent of those offered"
        assert one == min(label for label in of if times[label] == times[one]), "the first by the alphabet"


def test_the_rule_is_the_share_of_the_largest_class_where_all_are_offered():
    right = ["ant"] * 3 + ["bee"] * 7 + ["cat"] * 2
    assert subdataset.most_frequent(questions(right)).correct.mean() == 7 / 12


def test_the_rule_is_counted_on_the_sub_dataset_alone_and_asked_what_the_models_are():
    asked = pd.concat([questions(["ant", "bee", "bee"]), questions(["ant"] * 9 + ["bee"], name="other")])
    run = run_of(asked, {"demo-base": ["ant"] * 13})
    failed = pd.DataFrame({"model": ["demo-base"], "dataset": ["zoo"], "image_id": ["000.tif"], "reason": ["?"]})
    run = replace(run, failures=failed)
    rule = answers_of(run).query("model == @RULE")
    assert list(rule.image_id) == ["001.tif", "002.tif"] and set(rule.chosen) == {"bee"}, (
        "what no model read is no question"
    )


def test_a_comparison_has_the_interval_that_it_has_elsewhere():
    rng = np.random.default_rng(0)
    right = list(rng.choice(CLASSES[:3], 40))
    models = {name: list(rng.choice(CLASSES[:3], 40)) for name in ("demo-base", "demo-pathology", "random")}
    run = run_of(questions(right), models)
    answers = answers_of(run)
    compared = subdataset.comparisons(answers)
    pairs = [(RULE, "demo-base"), (RULE, "demo-pathology"), ("demo-base", "demo-pathology")]
    assert sorted(zip(compared.reference, compared.model, strict=True)) == sorted(pairs), (
        "a guesser is compared with nobody"
    )
    for one in compared.itertuples():
        alone = stats.compare(answers, one.reference, one.model, by=[]).query(
            "question == 'all' and estimand == 'micro'"
        )
        assert (one.estimate, one.ci_low, one.ci_high) == pytest.approx(
            tuple(alone[["estimate", "ci_low", "ci_high"]].iloc[0])
        )
        assert one.joint_low <= one.ci_low and one.joint_high >= one.ci_high


RIGHT = ["ant"] * 10 + ["bee"] * 30
VERDICTS = {  # what is said, how the answer begins, and how it ends
    "better": (
        RIGHT,
        "demo-base can be used where 100.0 [91.2, 100.0] % right answers are enough",
        "is better than that rule by 25.0 points",
    ),
    "no better": (
        ["bee"] * 10 + ["ant"] * 2 + ["bee"] * 28,
        "demo-base cannot be relied on",
        "cannot be told from that",
    ),
    "worse": (["bee"] * 10 + ["ant"] * 30, "demo-base cannot be relied on", "worse than that rule by 75.0 points"),
    "better by class": (
        ["ant"] * 19 + ["bee"] * 21,
        "demo-base tells something of these classes",
        "cannot be told from that",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_answer_is_that_of_the_numbers(name):
    said, start, words = VERDICTS[name]
    answer = told(run_of(questions(RIGHT), {"demo-base": said, "random": ["ant"] * 40}))[0]["answer"]
    assert answer.startswith(start) and words in answer
    assert "Guessing among the options gives 33.3 % and always saying “bee”, the most frequent class, 75.0 %." in answer
    assert "most of" not in answer, "one model is not the best of several"


@pytest.mark.slow
def test_chance_alone_is_not_taken_for_knowledge():
    """Of 200 studies in which a model answers at random, at most some 5 % call it better than the rule."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(200):
        right, said = (list(rng.choice(CLASSES, 40)) for _ in range(2))
        answers = answers_of(run_of(questions(right, [(*CLASSES, NONE)] * 40), {"demo-base": said}))
        with resamples(50):
            found += bool((subdataset.comparisons(answers).joint_low > 0).any())
    assert found <= 10


def test_who_can_be_told_from_the_best_is_said():
    wrong = ["bee" if one == "ant" else "ant" for one in RIGHT]
    same = told(
        run_of(questions(RIGHT), {"demo-base": RIGHT, "demo-pathology": wrong, "demo-second": ["ant", *RIGHT[1:]]})
    )[0]
    assert same["others"] == "Whether it is better than demo-second, these pictures do not tell."
    apart = told(run_of(questions(RIGHT), {"demo-pathology": wrong, "demo-base": RIGHT}))[0]
    assert apart["others"] == "It is better than the other model."


def test_who_answered_a_part_is_not_the_best():
    some = [one if at < 8 else None for at, one in enumerate(RIGHT)]
    run = run_of(questions(RIGHT), {"demo-base": some, "demo-pathology": ["bee"] * 40})
    answer, scores, _ = told(run)
    assert answer["answer"].startswith("demo-pathology names") and "a part of the questions" in answer["others"]
    alone = told(run_of(questions(RIGHT), {"demo-base": some}))[0]
    assert alone["answer"] == "No model answered all 40 questions on the class, so none is called the best."


@pytest.mark.parametrize(
    ("right", "chosen", "words"),
    [
        (["ant"] * 5, {"demo-base": ["ant"] * 5}, "shows the same class, ant: always saying so is right"),
        (RIGHT, {"random": RIGHT}, "No model but the random baseline answered the question on the class"),
        (["ant", "bee"], {"demo-base": ["ant", "bee"]}, "The model cannot be told from that rule"),
    ],
    ids=["one class", "guesses alone", "two pictures"],
)
def test_nothing_is_claimed_of_what_was_not_shown(right, chosen, words):
    assert words in told(run_of(questions(right, [("ant", "bee", NONE)] * len(right)), chosen))[0]["answer"]


def test_a_sub_dataset_without_classes_says_so():
    asked = questions(RIGHT).assign(question="stain", level="coarse")
    answer = told(run_of(asked, {"demo-base": RIGHT}))[0]["answer"]
    assert answer.startswith("No question on the class is asked of these pictures, so")
    other = pd.concat([asked, questions(RIGHT).assign(wording=0)])
    assert "of these pictures in wording 1, so" in told(run_of(other, {"demo-base": RIGHT * 2}))[0]["answer"]


def test_where_options_are_drawn_the_rule_is_not_called_a_fixed_answer():
    right = list(itertools.islice(itertools.cycle(CLASSES), 24))
    options = [(one, CLASSES[(CLASSES.index(one) + 1) % 4], NONE) for one in right]
    answer = told(run_of(questions(right, options), {"demo-base": right}))[0]["answer"]
    assert "taking the most frequent of the classes that a question offers" in answer


def test_wrong_answers_are_all_there_and_counted():
    right = ["ant", "bee", "cat", "ant"]
    chosen = {
        "demo-base": ["bee", "bee", "ant", "ant"],
        "demo-pathology": ["bee", "cat", "bee", "ant"],
        "demo-second": ["cat", "bee", "bee", None],
        "random": ["bee", "cat", "ant", "bee"],
    }
    answers = answers_of(run_of(questions(right), chosen))
    table = subdataset.wrong(answers)
    found = {
        (row.image_id, row.label, row.answer): (row.n_models, row.of_models, row.models) for row in table.itertuples()
    }
    assert found == {
        ("000.tif", "ant", "bee"): (2, 3, "demo-base; demo-pathology"),
        ("002.tif", "cat", "bee"): (2, 3, "demo-pathology; demo-second"),
        ("000.tif", "ant", "cat"): (1, 3, "demo-second"),
        ("001.tif", "bee", "cat"): (1, 3, "demo-pathology"),
        ("002.tif", "cat", "ant"): (1, 3, "demo-base"),
    }, "guessers and the rule are no witnesses"
    assert list(table.n_models) == sorted(table.n_models, reverse=True)
    own = subdataset.mistakes(answers, "demo-base", 10)
    assert set(zip(own.image_id, own.answer, strict=True)) == {("000.tif", "bee"), ("002.tif", "ant")}
    assert len(subdataset.mistakes(answers, "demo-base", 1)) == 1


def test_confusions_and_recalls_agree():
    rng = np.random.default_rng(3)
    right, said = (list(rng.choice(CLASSES, 60)) for _ in range(2))
    run = run_of(questions(right, [(*CLASSES, NONE)] * 60), {"demo-base": said})
    answers = answers_of(run)
    taken = subdataset.confusions(answers, "demo-base")
    assert {(row.right, row.chosen): row.n for row in taken.itertuples()} == Counter(zip(right, said, strict=True))
    recall = subdataset.recalls(stats.score(answers, by=["right"]), ["demo-base"]).set_index("slice").estimate
    diagonal = taken[taken.right == taken.chosen].set_index("right").share
    pd.testing.assert_series_equal(recall, diagonal, check_names=False)


def test_an_unknown_sub_dataset_is_refused_with_those_there_are():
    benchmark = SimpleNamespace(images=pd.DataFrame({"dataset": ["zoo", "farm", "zoo"]}), name="mine")
    assert subdataset.chosen(benchmark) == "farm" and subdataset.chosen(benchmark, "zoo") == "zoo"
    with pytest.raises(UserError, match="'mine' has no sub-dataset 'sea'; it has farm, zoo"):
        subdataset.chosen(benchmark, "sea")


def test_a_sub_dataset_that_nobody_could_answer_is_refused_with_the_reason():
    asked = pd.concat([questions(["ant", "bee"]), questions(["ant", "bee"], name="farm")])
    run = run_of(asked, {"demo-base": ["ant", "bee", None, None]})
    subdataset.check_answered(subdataset.part(run, "zoo"), answers_of(run))
    with pytest.raises(UserError, match="no question of 'farm' was answered in wording 1"):
        subdataset.check_answered(subdataset.part(run, "farm"), answers_of(run, "farm"))
    failed = {"model": "demo-base", "dataset": "farm", "image_id": ["000.tif", "001.tif"], "reason": "cut off"}
    run = replace(run, failures=pd.DataFrame(failed))
    with pytest.raises(UserError, match="no picture of 'farm' could be read; the first, '000.tif': cut off"):
        subdataset.check_answered(subdataset.part(run, "farm"), answers_of(run, "farm"))
