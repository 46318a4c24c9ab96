"""The leaderboard: every row says where it comes from, agrees with the scores, and leads to the model's failures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences, tables
from ubench_utils.statistics import scores as stats
from ubench_utils.statistics.scores import headline
from ubench_utils.studies import leaderboard, overview, published

MODELS = ["random", "demo-base", "demo-pathology"]


@pytest.fixture(scope="module")
def run():
    return evaluate("demo", MODELS, limit=80)


@pytest.fixture(scope="module")
def scores(run):
    return stats.score(run.answers, by=[])


def answer(scores, distances):
    return sentences.sentence("leaderboard", "answer", **leaderboard.context(scores, distances))


def test_rows_are_the_models_of_the_run_and_the_published_ones(run, scores):
    board = leaderboard.board(run, scores, MODELS, leaderboard.behind(run, scores))
    measured = board[board.source != "published"].set_index("model")
    assert set(measured.index) == set(MODELS) and set(measured.source) == {"measured, synthetic"}
    assert set(board[board.source == "published"].model) == set(published.totals().model)
    fine = headline(scores).query("level == 'fine' and question == 'classification'").set_index("model")
    for model, row in measured.iterrows():
        ends = [row.fine, row.fine_low, row.fine_high]
        assert ends == fine.loc[model, ["estimate", "ci_low", "ci_high"]].tolist()
    assert measured.fine.is_monotonic_decreasing and measured.category["demo-pathology"] == "pathology"


def test_printed_numbers_are_those_of_table_1(run, scores):
    board = leaderboard.board(run, scores, MODELS, leaderboard.behind(run, scores))
    board = board.query("source == 'published'").set_index("model")
    for row in published.totals().query("level == 'coarse'").itertuples():
        assert 100 * board.coarse[row.model] == pytest.approx(row.accuracy)
        assert 100 * board.coarse_low[row.model] == pytest.approx(row.ci_low)
    assert board.behind.isna().all() and not board.is_best.any()


def test_distance_to_the_best_is_paired(run, scores):
    found = leaderboard.behind(run, scores)
    table = headline(scores).query("level == 'fine'")
    best = table.loc[table.estimate.idxmax()].model
    assert found.model[0] == best and set(found.model) == set(MODELS)
    pair = stats.compare(run.answers, best, "random", by=[])
    row = pair[(pair.level == "fine") & (pair.wording == 1) & (pair.estimand == "micro")].iloc[0]
    own = found.set_index("model").loc["random"]
    assert own.tolist() == pytest.approx([row.estimate, row.ci_low, row.ci_high])
    board = leaderboard.board(run, scores, MODELS, found).set_index("model")
    assert board.index[board.is_best].tolist() == [best] and np.isnan(board.behind[best])
    assert board.behind["random"] == own.estimate


def test_one_model_leads_without_others_and_guessing_never_leads(run, scores):
    one = scores[scores.model == "demo-base"]
    alone = leaderboard.behind(run, one)
    assert alone.model.tolist() == ["demo-base"] and "no other model" in answer(one, alone)
    guess = scores[scores.model == "random"]
    assert leaderboard.behind(run, guess).empty
    assert "can lead" in answer(guess, leaderboard.behind(run, guess))


def test_a_model_that_answered_a_part_cannot_lead(run, scores):
    """Half of its fine questions, all of them right: it is listed, and does not lead."""
    answers = run.answers
    part = answers[(answers.model == "demo-pathology") & (answers.level == "fine") & answers.correct]
    cut = answers[(answers.model != "demo-pathology") | (answers.level != "fine") | answers.index.isin(part.index)]
    fewer = dataclasses.replace(run)
    fewer.__dict__["answers"] = cut
    table = stats.score(cut, by=[])
    found = leaderboard.behind(fewer, table)
    assert found.model[0] == "demo-base"
    assert "only a part of the questions, and cannot lead: 1" in answer(table, found)
    alone = table[table.model == "demo-pathology"]
    assert leaderboard.behind(fewer, alone).empty
    context = overview.context(table, run.asked)
    assert [row["model"] for row in context["leaders"] if row["level"] == "fine"] == ["demo-base"]
    text = sentences.sentence("overview", "answer", **overview.context(alone[alone.level == "fine"], run.asked))
    assert text.startswith("No model answered all questions of a level")


def test_markup_of_a_name_is_escaped_once(monkeypatch):
    shown = []
    monkeypatch.setattr(tables, "display", lambda output: shown.append(output.data))
    link = tables.link("<b>", "a.html?x=1&y=2")
    tables.show(pd.DataFrame({"a < b": ["<script>", link, "R&D", 3]}), "Cap & tion", sortable=["a < b"])
    assert '<a href="a.html?x=1&amp;y=2">&lt;b&gt;</a>' in shown[0] and "&lt;script&gt;" in shown[0]
    assert "<script>" not in shown[0] and "R&amp;D" in shown[0] and "&amp;lt;" not in shown[0]
    assert "<th>a &lt; b</th>" in shown[0] and 'data-filter="a &lt; b"' in shown[0]
