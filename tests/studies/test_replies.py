"""How replies were read: both rules against their counts, what is not known stays so, examples are the same always."""

import numpy as np
import pandas as pd
import pytest

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.answers import OF_REPLIES
from ubench_utils.report import cards, sentences, tables
from ubench_utils.statistics.calibration import calibration_error
from ubench_utils.statistics.scores import score
from ubench_utils.studies import leaderboard, published, replies

WAYS = ["{letter}", "The answer is {letter}.", "It could be anything.", "{letter}) {label}", "{label}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One model of features, and a file of replies of which a third is wrong, in five manners."""
    guessed = evaluate("demo", ["random"], limit=50)
    asked = guessed.questions[guessed.questions.wording == 1].reset_index(drop=True)
    said = []
    for place, row in enumerate(asked.itertuples()):
        at = row.answer_idx if place % 3 else (row.answer_idx + 1) % row.n_options
        said.append(WAYS[place % 5].format(letter="ABCDEFGH"[at], label=row.labels[at]))
    file = tmp_path_factory.mktemp("replies") / "replies.csv"
    asked[["dataset", "image_id", "question"]].assign(answer=said).to_csv(file, index=False)
    return evaluate("demo", ["demo-base", f"predictions:{file}"], limit=50)


@pytest.fixture
def wordy(run):
    return next(name for name, family in run.families.items() if family == "file of answers")


def test_both_accuracies_are_those_of_their_rules(run, wordy):
    table = replies.both_rules(run.answers).set_index("level")
    assert set(table.model) == {wordy} and len(table) >= 2
    for level, of in run.answers[run.answers.model == wordy].groupby("level"):
        row, official = table.loc[level], of.correct_official.astype(bool)
        assert (row.n_questions, row.strict) == (len(of), pytest.approx(of.correct.mean()))
        assert row.official == pytest.approx(official.mean())
        assert row.difference == pytest.approx(official.mean() - of.correct.mean())
        assert row.difference_low <= row.difference <= row.difference_high
        assert row.unreadable == pytest.approx((of.predicted_idx < 0).mean())
        assert np.isnan(row.cut_off) and np.isnan(row.declined) and np.isnan(row.letter_mass)  # a file does not say
    assert (table.official < table.strict)[["coarse", "fine"]].all()  # "The answer is B." and the words alone


def test_the_leaderboard_has_the_official_accuracy_of_those_who_reply(run, wordy):
    scores = score(run.answers, by=[])
    board = leaderboard.board(run, scores, [*run.families], leaderboard.behind(run, scores)).set_index("model")
    fine = replies.both_rules(run.answers).set_index("level").loc["fine"]
    assert board.official[wordy] == fine.official > 0 and board.official_low[wordy] == fine.official_low
    assert np.isnan(board.official["demo-base"])


def test_shares_are_of_the_replies_whose_end_is_known(run, wordy):
    answers = run.answers.assign(finish=None, letter_mass=np.nan)
    own = np.flatnonzero((answers.model == wordy) & (answers.level == "coarse"))
    answers.loc[own, "finish"] = ["length", "refusal", "filter", "stop"] * (len(own) // 4) + ["stop"] * (len(own) % 4)
    answers.loc[own[:10], "letter_mass"] = np.arange(10) / 10
    row = replies.both_rules(answers).set_index("level").loc["coarse"]
    assert row.cut_off == pytest.approx((len(own) // 4) / len(own)) and row.declined == pytest.approx(2 * row.cut_off)
    assert row.letter_mass == pytest.approx(0.45)


def test_nobody_who_replies_has_no_table_and_a_sentence(run):
    alone = evaluate("demo", ["demo-base", "random"], limit=50)
    table = replies.both_rules(alone.answers)
    assert table.empty and not set(OF_REPLIES) & set(alone.answers)
    assert tables.text(table, tables.RULES).empty
    told = sentences.sentence("overview", "rules", **replies.in_words(alone, table))
    assert told == "No model of this run replies in words, so there is one accuracy alone."
    sure = replies.sureness(alone.answers, "random")
    said = {
        name: sentences.sentence(
            "model", "replies", sure=replies.sureness(alone.answers, name), family=family, model=name
        )
        for name, family in alone.families.items()
    }
    assert not sure["replies"] and said["random"].startswith("random does not reply in words: it guesses.")
    assert (
        said["demo-base"].startswith("demo-base does not reply in words: it compares")
        and "calibration error" in said["demo-base"]
    )


def test_published_numbers_stand_beside_the_official_rule(run, wordy):
    changed = replies.by_official(run.answers)
    own = changed.model == wordy
    assert (changed[own].correct == changed[own].correct_official.astype(bool)).all()
    assert (changed[~own].correct == run.answers[~own].correct).all()
    assert replies.beside_published(run).empty == published.beside(score(run.answers, by=[]), "demo").empty


def test_letters_that_hold_little_probability_have_no_calibration(run, wordy):
    own = run.answers.model == wordy
    p = np.where(own, 0.6, run.answers.p_predicted)
    for mass, is_told in ((0.4, False), (0.9, True)):
        answers = run.answers.assign(letter_mass=np.where(own, mass, np.nan), p_predicted=p)
        found = replies.sureness(answers, wordy)
        assert found["mass"] == pytest.approx(mass) and (found["calibration"] is not None) == is_told
        words = sentences.sentence("model", "replies", sure=found, family="generator", model=wordy)
        assert ("no calibration is shown" in words) != is_told and f"{100 * mass:.1f} %" in words
    expected = calibration_error(answers[own & (answers.wording == 1)]).estimate[0]
    assert found["calibration"]["estimate"] == pytest.approx(expected)
    assert replies.sureness(run.answers, wordy) == {"replies": True, "mass": None, "calibration": None}


def test_examples_are_of_every_state_whatever_the_order(run, wordy):
    found = replies.examples(run.answers, wordy)
    assert found.state.tolist() == ["right"] * 2 + ["wrong"] * 2 + ["unreadable"] * 2
    assert found[found.state == "unreadable"].reply.str.startswith("It could").all()
    again = replies.examples(run.answers.sample(frac=1, random_state=1), wordy)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), again.reset_index(drop=True))
    assert replies.examples(run.answers, "demo-base").empty


def test_a_reply_is_shown_as_it_was_and_runs_nothing(run, wordy):
    rows = replies.examples(run.answers, wordy)
    rows = rows.assign(reply=["<script>alert(1)</script>", "", "word " * 100, *rows.reply[3:]])
    page = cards.replies(run, rows).data
    assert "&lt;script&gt;" in page and "<script" not in page and "an empty reply" in page
    assert page.count("<details>") == 1  # the long reply; the prompt of a file's questions is not known
    assert page.count("<img") == len(rows) and page.count("alt=") == len(rows)
    assert "There is no reply" in cards.replies(run, rows[:0]).data
