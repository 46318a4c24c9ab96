"""Audits of replies: what they find in models whose habits are known, and that nothing is asked unasked."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.endpoint import reply, served
from helpers.pages_in_process import executed, glued

from ubench_utils.cli import main
from ubench_utils.data.questions import NONE_OF_THE_ABOVE
from ubench_utils.evaluation import askings as asking
from ubench_utils.evaluation.askings import askings, plans, rotations
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report.sentences import sentences
from ubench_utils.statistics.means import mean
from ubench_utils.statistics.resampling import resamples, units
from ubench_utils.statistics.scores import score, totals
from ubench_utils.studies import audits, replies

pytest.importorskip("openai")
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def quick():
    """Intervals of few resamples: what is asked here is not how wide they are."""
    with resamples(200):
        yield


def options_of(request):
    return re.findall(r"^([A-Z])\) (.*)$", request["messages"][0]["content"][1]["text"], re.MULTILINE)


def by_place(request, before):
    """Says A, whatever stands there."""
    return 200, {}, reply("A")


def by_words(request, before):
    """Names the option that is first in the alphabet, wherever it stands, and is sure of it."""
    letter, _ = min(options_of(request), key=lambda option: option[1])
    body = reply(f"{letter})")
    body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [
        {"token": letter, "logprob": np.log(0.6)},
        {"token": "The", "logprob": np.log(0.3)},
    ]
    return 200, {}, body


def by_chance(request, before):
    """Another letter at each asking."""
    return 200, {}, reply("ABC"[before % 3], refusal=None)


@pytest.fixture
def audited(rows, parquet, monkeypatch):
    """Return what was asked of a server that answers so, its run, and its requests."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def get(answer, **how):
        with served(answer) as (url, requests):
            run = evaluate(parquet(rows[::16]), [f"api:m@{url}", "random"])
            return SimpleNamespace(run=run, asked=askings(run, [*run.record["models"]], **how), requests=requests)

    return get


def of(table, what):
    return table[(table.what == what)].set_index(["level", "question"])


def test_rotations_bring_every_option_to_every_place():
    questions = pd.DataFrame(
        {
            "labels": [("a", "b", "c", NONE_OF_THE_ABOVE), ("x", "y")],
            "options": [("1", "2", "3", "4"), ("5", "6")],
            "answer_idx": [2, 0],
            "n_options": [4, 2],
        }
    )
    turned = rotations(questions)
    assert list(turned.turn) == [0, 0, 1, 1, 2] and list(turned.n_turns) == [3, 2, 3, 2, 3]
    first = turned[turned.n_options == 4]
    assert [*first.labels] == [(*of, NONE_OF_THE_ABOVE) for of in (("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"))]
    for row in turned.itertuples():
        right = {4: "c", 2: "x"}[row.n_options]
        assert row.labels[row.answer_idx] == right and len(row.labels) == row.n_options
        stored = questions.labels[0 if row.n_options == 4 else 1]
        assert row.labels == tuple(stored[at] for at in row.order)


def test_a_model_that_says_a_is_found_out(audited):
    found = audited(by_place)
    table = audits.orders(found.asked)
    assert (of(table, "consistent").estimate == 0).all() and (of(table, "circular").estimate == 0).all()
    questions = found.run.questions[found.run.questions.wording == 1]
    turns = questions.n_options - [labels[-1] == NONE_OF_THE_ABOVE for labels in questions.labels]
    expected = (1 / turns).groupby([questions.level, questions.question]).mean()  # right once in all orders
    means = of(table, "mean over orders").estimate
    both = means.index.intersection(expected.index)
    assert len(both) > 3 and np.allclose(means[both], expected[both], atol=1e-6)
    stored, change = of(table, "as stored").estimate, of(table, audits.CHANGE).estimate
    assert np.allclose(means - stored, change, atol=1e-6)
    places = audits.places(found.asked).set_index("what")
    assert places.estimate["A"] == 1 and (places.estimate.drop("A") == 0).all() and len(places) > 3
    assert (places.expected < 0.5).all() and (places.n_questions == places.n_questions.max()).sum() >= 2
    repeats = of(audits.against_stored(found.asked), audits.BLANKED)
    assert (repeats.estimate == 1).all()


def test_a_model_that_goes_by_the_words_is_consistent(audited):
    found = audited(by_words)
    table = audits.orders(found.asked)
    assert (of(table, "consistent").estimate == 1).all() and (of(table, audits.CHANGE).estimate == 0).all()
    assert np.allclose(of(table, "circular").estimate, of(table, "as stored").estimate)
    assert np.allclose(of(table, audits.AVERAGED).estimate, of(table, "as stored").estimate)
    probabilities = audits.letters(found.asked)
    assert (of(probabilities, "likeliest letter is named").estimate == 1).all()
    assert (of(probabilities, "mass below a half").estimate == 0).all()


def test_chance_is_that_of_options_drawn_at_every_asking(audited):
    """Agreement with simulated guessers, in place of the replies."""
    asked = audited(by_words).asked
    rng, table = np.random.default_rng(0), audits.orders(asked)
    rows = asked[(asked.way == "order") & (asked.question == "modality")].copy()
    found = {"consistent": [], "circular": [], "as stored": [], "mean over orders": []}
    for _ in range(100):
        drawn = pd.Series(rng.integers(0, rows.n_options), rows.index)
        by = drawn.groupby([rows.dataset, rows.image_id])
        right = (drawn == rows.answer_idx).groupby([rows.dataset, rows.image_id])
        found["consistent"].append((by.nunique() == 1).mean())
        found["circular"].append(right.all().mean())
        found["as stored"].append(right.first().mean())
        found["mean over orders"].append(right.mean().mean())
    for what, values in found.items():
        error = np.std(values) / np.sqrt(len(values))
        chance = of(table, what).chance["coarse", "modality"]
        assert abs(np.mean(values) - chance) < 4 * error + 1e-3, what


def test_an_address_that_answers_otherwise_is_told(audited):
    found = audited(by_chance)
    again = of(audits.against_stored(found.asked), "another answer when asked again")
    assert (again.estimate == 1).all() and again.chance.isna().all()
    bodies = [str(request["messages"]) for request, _ in found.requests]
    asked = found.asked.groupby("way").size()
    assert max(map(bodies.count, bodies)) == 2 and asked["again"] == len(bodies) - len({*bodies})


def test_an_audit_that_was_stopped_goes_on_and_a_page_asks_nothing(audited, rows, parquet):
    first = audited(by_words, limit=2)
    assert set(first.asked.image_id) < {row["image_id"] for row in rows[::16]} and first.asked.image_id.nunique() == 2
    with served(by_words) as (url, requests):
        name = f"api:m@{url}"
        run = evaluate(parquet(rows[::16]), [name])
        n = len(requests)
        how = {"settings": run.settings, "limit": 2}
        planned = plans(run.benchmark, run.questions, [name], **how)
        assert askings(run, [name], limit=2, only_kept=True).empty and len(requests) == n
        assert [plan.model.rpartition(", ")[2] for plan in planned] == [asking.ORDER, asking.BLANK, asking.AGAIN]
        askings(run, [name], limit=2)
        assert len(requests) == n + sum(plan.to_ask for plan in planned)
        kept = askings(run, [name], limit=2, only_kept=True)
        assert len(requests) == n + sum(plan.to_ask for plan in planned) and len(kept) > 20
        assert not any(plan.to_ask for plan in plans(run.benchmark, run.questions, [name], **how))


def test_the_command_says_first_what_it_costs_and_writes_its_tables(rows, parquet, tmp_path, capsys):
    data, out = parquet(rows[::16]), tmp_path / "out"
    with served(by_words) as (url, requests):
        name = f"api:m@{url}"
        command = ["audit", "--dataset", data, "--models", name, "random", "--out", str(out)]
        assert main([*command, "--dry-run"]) == 0
        told = capsys.readouterr().out
        assert not requests and not out.exists()
        assert all(f"{name}, {way}: " in told for way in (asking.ORDER, asking.BLANK, asking.AGAIN))
        assert main(command) == 0
        assert "names the same one in 100.0 [" in capsys.readouterr().out
        n = len(requests)
    table, said = (pd.read_csv(out / file) for file in ("audit.csv", "askings.csv"))
    assert {"orders", "letters picked", "probabilities", "repeats"} == set(table.audit) and set(table.model) == {name}
    assert len(said) > n / 2 and said.labels.str.contains(" | ", regex=False).all()
    assert main(["audit", "--dataset", data, "--models", "random", "--out", str(tmp_path / "b")]) == 2
    assert "none of these models replies in words" in capsys.readouterr().err


def test_both_readings_and_what_cannot_be_read(audited, rows):
    def answer(request, before):
        letter = options_of(request)[0][0]
        texts = [f"{letter}) x", f"The answer is {letter}.", "I cannot say", letter]
        at = len(request["messages"][0]["content"][1]["text"]) % 4
        return 200, {}, reply(texts[at], finish="length" if at == 3 else "stop")

    answers = audited(answer).run.answers
    own = answers[answers.model != "random"]
    for what, right in (("official", own.correct_official), ("strict", own.correct)):
        level = totals(of(replies.accuracies(answers), what).reset_index())
        assert np.allclose(level.estimate, right.astype(float).groupby(own.level).mean()[level.level])
    read = replies.unread(answers)
    assert set(read.model) == set(own.model)
    for what, is_so in (("names no option", own.predicted_idx < 0), ("was cut off", own.finish == "length")):
        level = totals(of(read, what).reset_index())
        assert np.allclose(level.estimate, is_so.groupby(own.level).mean()[level.level]) and is_so.any()
    share = replies.none_share(answers)
    assert set(share.model) == set(answers.model) and (share.n_right == 0).all()


def test_without_models_that_reply_it_is_said(rows, parquet):
    data = parquet(rows[::16])
    run = evaluate(data, ["demo-base"])
    asked = askings(run, ["demo-base"])
    assert asked.empty and audits.audit(asked).empty
    words = sentences("replies", **replies.context(run.answers, audits.audit(asked), ["demo-base"]))
    assert words["answer"].startswith("No model of this run replies in words") and words["order"].startswith("There is")
    assert "never right" in words["none"]


@pytest.mark.slow
def test_the_page_shows_an_audit(audited, rows, parquet):
    with served(by_words) as (url, _):
        data, name = parquet(rows[::16]), f"api:m@{url}"
        before = glued(executed("replies", dataset=data, models=[name, "random"], device="cpu"))
        assert f"{name} was not asked in other orders" in before["order"]
        askings(evaluate(data, [name, "random"], device="cpu"), [name])
        page = executed("replies", dataset=data, models=[name, "random"], device="cpu")
    assert "names the same one in 100.0 [" in glued(page)["order"]
    assert "nan" not in " ".join(glued(page).values())


# ---------------------------------------------------------------------------------------------------------- means


def test_the_mean_of_right_and_wrong_is_the_accuracy(rows, parquet):
    """Where several questions share an image, estimate and interval are those of ``score``."""
    answers = evaluate(parquet(rows), ["demo-base", "random"]).answers
    answers = answers[answers.wording == 1].assign(value=lambda own: own.correct.astype(float))
    table = mean(answers, "value", least=0.0)
    expected = score(answers, by=[]).query("estimand == 'micro'")
    both = table.merge(expected, on=["model", "level", "question"], suffixes=("", "_of_score"))
    assert len(both) == len(table) > 8 and np.allclose(both.estimate, both.estimate_of_score)
    bootstrapped = both[both.interval_of_score == "bootstrap"]
    assert len(bootstrapped) > 4
    for end in ("ci_low", "ci_high"):
        assert np.allclose(bootstrapped[end], bootstrapped[f"{end}_of_score"], atol=1e-6)


def test_a_mean_without_variation_keeps_a_width():
    images = pd.DataFrame({"dataset": "d", "image_id": [f"{n}" for n in range(20)]})
    own = images.assign(model="m", level="coarse", question="q", wording=1, value=0.0, **units(images))
    found = mean(own, "value").iloc[0]
    assert found.estimate == 0 and found.ci_low < -0.1 and found.ci_high > 0.1 and found.interval == "unseen"
    assert mean(own, "value", least=0.0).ci_low.item() == 0
