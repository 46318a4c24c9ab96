"""The leaderboard: every row says where it comes from, agrees with the scores, and leads to the model's failures."""

import dataclasses
import re

import pandas as pd
import pytest
from markupsafe import Markup

from ubench_utils.data.benchmark import HUB_NAME
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.pages.runner import slugs
from ubench_utils.report import tables
from ubench_utils.statistics import scores as stats
from ubench_utils.statistics.scores import headline
from ubench_utils.studies import leaderboard, published

MODELS = ["random", "demo-base", "demo-pathology"]


@pytest.fixture(scope="module")
def run():
    return evaluate("demo", MODELS, limit=80)


@pytest.fixture(scope="module")
def scores(run):
    return stats.score(run.answers, by=[])


def plain(cell):
    return Markup(cell).striptags()


def test_rows_are_the_models_of_the_run_and_the_published_ones(run, scores):
    board = leaderboard.board(run, scores, MODELS, leaderboard.behind(run, scores))
    measured = board[board.source != "published"]
    assert {plain(model) for model in measured.model} == set(MODELS)
    assert set(measured.source) == {"measured, synthetic"}
    assert set(board[board.source == "published"].model) == set(published.totals().model)
    fine = headline(scores).query("level == 'fine' and question == 'classification'").set_index("model").estimate
    for row in measured.itertuples(index=False):
        assert row[3].startswith(f"{100 * fine[plain(row.model)]:.1f} [")
    numbers = [float(cell.split()[0]) for cell in measured["fine %"]]
    assert numbers == sorted(numbers, reverse=True)


def test_printed_numbers_are_those_of_table_1(run, scores):
    board = (
        leaderboard.board(run, scores, MODELS, leaderboard.behind(run, scores))
        .query("source == 'published'")
        .set_index("model")
    )
    for row in published.totals().query("level == 'coarse'").itertuples():
        assert float(board["coarse %"][row.model].split()[0]) == pytest.approx(row.estimate, abs=0.0501)


def test_rows_lead_to_report_cards_and_failures(run, scores):
    board = leaderboard.board(run, scores, MODELS, leaderboard.behind(run, scores))
    for model, slug in slugs(MODELS).items():
        row = board[[plain(cell) == model for cell in board.model]].iloc[0]
        assert isinstance(row.model, Markup) and isinstance(row.failures, Markup)
        assert f'href="../models/{slug}.html"' in row.model
        assert f'href="../models/{slug}.html#{leaderboard.SURE_AND_WRONG}"' in row.failures


def test_distance_to_the_best_is_paired(run, scores):
    found = leaderboard.behind(run, scores)
    table = headline(scores).query("level == 'fine'")
    best = table.loc[table.estimate.idxmax()].model
    assert found.model[0] == best and set(found.model) == set(MODELS)
    pair = stats.compare(run.answers, best, "random", by=[])
    row = pair[(pair.level == "fine") & (pair.wording == 1) & (pair.estimand == "micro")].iloc[0]
    own = found.set_index("model").loc["random"]
    assert own.tolist() == pytest.approx([row.estimate, row.ci_low, row.ci_high])
    cell = leaderboard.board(run, scores, MODELS, found).set_index("model")["behind the best"]
    assert cell[[name for name in cell.index if plain(name) == best][0]] == "the best here"


def test_one_model_leads_without_others_and_guessing_never_leads(run, scores):
    one = scores[scores.model == "demo-base"]
    alone = leaderboard.behind(run, one)
    assert alone.model.tolist() == ["demo-base"] and "no other model" in leaderboard.answer(one, alone)
    guess = scores[scores.model == "random"]
    assert leaderboard.behind(run, guess).empty
    assert "can lead" in leaderboard.answer(guess, leaderboard.behind(run, guess))


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
    assert "only a part of the questions, and cannot lead: 1" in leaderboard.answer(table, found)


def test_published_numbers_appear_beside_a_run_on_the_hub(run, scores):
    elsewhere = leaderboard.beside_published(scores, run)
    assert len(elsewhere) == 1 and "not the paper's" in elsewhere.iloc[0, 0]
    on_hub = dataclasses.replace(run, benchmark=dataclasses.replace(run.benchmark, name=HUB_NAME))
    named = scores.assign(model=scores.model.replace({"demo-base": "CLIP"}))
    table = leaderboard.beside_published(named, on_hub)
    assert len(table) == 7 and set(table.model) == {"CLIP"}  # the coarse total, five questions, fine
    assert all(re.fullmatch(r"[+−]?\d+\.\d \[.*\]", cell) for cell in table.difference)


def test_markup_of_a_name_is_escaped_once(monkeypatch):
    shown = []
    monkeypatch.setattr(tables, "display", lambda output: shown.append(output.data))
    link = tables.link("<b>", "a.html?x=1&y=2")
    tables.show(pd.DataFrame({"a < b": ["<script>", link, "R&D", 3]}), "Cap & tion", sortable=["a < b"])
    assert '<a href="a.html?x=1&amp;y=2">&lt;b&gt;</a>' in shown[0] and "&lt;script&gt;" in shown[0]
    assert "<script>" not in shown[0] and "R&amp;D" in shown[0] and "&amp;lt;" not in shown[0]
    assert "<th>a &lt; b</th>" in shown[0] and 'data-filter="a &lt; b"' in shown[0]
