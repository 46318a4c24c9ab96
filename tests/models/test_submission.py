"""Answers made elsewhere get the same scores as our own; what does not match is named, counted or refused."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.refusals import fails

from ubench_utils.cli import main
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.registry import find_model
from ubench_utils.models.submission import read_submission

pytestmark = pytest.mark.usefixtures("cache")
KEY = ["dataset", "image_id", "question", "wording"]


@pytest.fixture
def path(rows, parquet):
    return parquet(rows[::2])


@pytest.fixture
def run(path):
    return evaluate(path, ["demo-base"], device="cpu", precision="float32")


def own_table(run, wording=None):
    table = run.predictions.drop(columns=["model", "tied"])
    return table if wording is None else table[table.wording == wording]


def forms(run):
    """Our own answers in every form that is read."""
    asked = run.predictions.merge(run.questions[[*KEY, "options", "labels"]], on=KEY)
    one_hot = [np.eye(n)[i].round(3).tolist() for n, i in zip(asked.n_options, asked.predicted_idx, strict=True)]
    key = asked[KEY]
    letters = [f"{'ABCDEF'[i]})" for i in asked.predicted_idx]
    yield "index", key.assign(predicted_idx=asked.predicted_idx)
    yield "label", key.assign(answer=[labels[i] for labels, i in zip(asked.labels, asked.predicted_idx, strict=True)])
    yield "caption", key.assign(answer=[o[i].upper() for o, i in zip(asked.options, asked.predicted_idx, strict=True)])
    yield "letter", key.assign(answer=letters)
    yield "scores", key.assign(scores=[json.dumps(scores) for scores in one_hot])
    width = max(map(len, one_hot))
    wide = pd.DataFrame([[*row, *[None] * (width - len(row))] for row in one_hot]).add_prefix("score_")
    yield "columns", pd.concat([key, wide], axis=1)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_form_gives_our_own_answers(run, tmp_path, suffix):
    ours = run.predictions.set_index(KEY).predicted_idx
    for name, table in forms(run):
        if suffix == "parquet" and name == "scores":
            table = table.assign(scores=[json.loads(text) for text in table.scores])
        file = tmp_path / f"{name}.{suffix}"
        shuffled = table.sample(frac=1, random_state=0)
        shuffled.to_csv(file, index=False) if suffix == "csv" else shuffled.to_parquet(file)
        predictions, notes = read_submission(file, run.questions)
        theirs = predictions.set_index(KEY).predicted_idx
        n = len(ours)
        assert notes == {
            "index": [],
            "label": [f"{n} replies: 0 read by their letter, {n} by the words of an option, 0 name no option"],
            "caption": [f"{n} replies: 0 read by their letter, {n} by the words of an option, 0 name no option"],
            "letter": [f"{n} replies: {n} read by their letter, 0 by the words of an option, 0 name no option"],
        }.get(name, ["the scores add up to 1 and were read as probabilities"])
        assert (theirs.reindex(ours.index) == ours).all(), name
        assert predictions.p_predicted.isna().all() == (name not in ("scores", "columns"))


def test_the_tables_are_those_of_our_own_model(run, path, tmp_path, capsys):
    """The command's scores.csv, line by line, against that of `evaluate`."""
    file = tmp_path / "mine.csv"
    own_table(run)[[*KEY, "predicted_idx"]].to_csv(file, index=False)
    out = tmp_path / "scored"
    assert main(["score", str(file), "--dataset", path, "--model", "mine", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "mine: coarse" in said and "UBENCH_MODELS=" in said
    run.save(tmp_path / "own")
    ours, theirs = (pd.read_csv(folder / "scores.csv") for folder in (tmp_path / "own", out))
    pd.testing.assert_frame_equal(ours.drop(columns="model"), theirs.drop(columns="model"))
    assert set(theirs.model) == {"mine"}
    entry = yaml.safe_load((out / "models.yml").read_text())
    assert entry == {"mine": {"spec": f"predictions:{file}"}}
    record = json.loads((out / "run.json").read_text())
    assert record["models"]["mine"]["notes"] == []


def test_a_listed_name_keeps_its_facts(path, run, tmp_path):
    """PLIP answered elsewhere is still a pathology model, fine-tuned from CLIP, in its own colour."""
    file = tmp_path / "plip.csv"
    own_table(run)[[*KEY, "predicted_idx"]].to_csv(file, index=False)
    listed = find_model("PLIP")
    assert main(["score", str(file), "--dataset", path, "--model", "PLIP", "--out", str(tmp_path / "o")]) == 0
    card = json.loads((tmp_path / "o" / "run.json").read_text())["models"]["PLIP"]["card"]
    assert card["spec"] == f"predictions:{file}" and card["colour"] == listed.colour
    assert card["category"] == "pathology" and card["base"] == "CLIP"
    assert find_model("PLIP") == listed


def test_rows_of_no_question_are_named_and_counted(run, tmp_path):
    table = own_table(run)[[*KEY, "predicted_idx"]]
    stray = table.head(4).assign(image_id=["nobody-1", "nobody-2", "nobody-3", "nobody-4"])
    file = tmp_path / "stray.csv"
    pd.concat([table.iloc[5:], stray]).to_csv(file, index=False)
    predictions, notes = read_submission(file, run.questions)
    assert len(predictions) == len(table) - 5 == len(run.predictions) - 5
    assert any(f"4 of {len(table) - 1:,} rows are of no question" in note and "nobody-3" in note for note in notes)
    assert any(f"5 of {len(table):,} questions" in note and "in no score" in note for note in notes)


def test_replies_that_name_no_option_count_as_wrong(run, tmp_path):
    asked = run.questions[run.questions.wording == 1]
    replies = [f"It is {labels[i]}, I think." for labels, i in zip(asked.labels, asked.answer_idx, strict=True)]
    replies[3] = "I cannot tell."
    replies[4] = f"{asked.labels.iloc[4][0]} or {asked.labels.iloc[4][1]}"
    file = tmp_path / "replies.csv"
    asked[["dataset", "image_id", "question"]].assign(answer=replies).to_csv(file, index=False)
    predictions, notes = read_submission(file, run.questions)
    wrong = predictions[~predictions.correct]
    assert len(predictions) == len(asked) and set(wrong.predicted_idx) == {-1} and len(wrong) >= 2
    assert any("name no option" in note and "I cannot tell" in note for note in notes)
    assert set(predictions.wording) == {1}  # a file without the column is of the headline wording
    assert predictions.reply.tolist() == [replies[at] for at in predictions.index]
    assert not predictions.correct_official.any()  # "It is …" begins with I


def test_replies_of_a_file_are_found_right_by_both_rules(path, run, tmp_path):
    asked = run.questions[run.questions.wording == 1]
    right = [f"{'ABCDEF'[at]}) {labels[at]}" for labels, at in zip(asked.labels, asked.answer_idx, strict=True)]
    file = tmp_path / "replies.csv"
    asked[["dataset", "image_id", "question"]].assign(answer=[None, *right[1:]]).to_csv(file, index=False)
    made = evaluate(path, [f"predictions:{file}", "random"])
    theirs = made.predictions[made.predictions.model != "random"]
    assert theirs.correct.tolist() == theirs.correct_official.tolist() == [False, *[True] * (len(asked) - 1)]
    assert theirs.reply.iloc[0] == "" and theirs.reply.iloc[1] == right[1]
    passports = made.record["models"]
    assert [passports[name]["replies"] for name in passports] == [True, False]
    assert [passports[name]["family"] for name in passports] == ["file of answers", "baseline"]


def test_none_is_a_stain_and_not_a_gap(rows, parquet, tmp_path):
    for row in rows[:4]:
        row["questions"]["stain"]["options"][0] = "None"
    rows = [row for row in rows[:4] if row["questions"]["stain"]]
    questions = build_questions(load_benchmark(parquet(rows)))
    asked = questions[(questions.question == "stain") & (questions.wording == 1)]
    asked[["dataset", "image_id", "question"]].assign(answer="None").to_csv(tmp_path / "none.csv", index=False)
    predictions, notes = read_submission(tmp_path / "none.csv", questions)
    assert any(", 0 name no option" in note for note in notes) and (predictions.predicted_idx >= 0).all()


def test_indices_that_count_from_one_are_pointed_out(run, tmp_path):
    table = own_table(run)[[*KEY, "predicted_idx", "n_options"]]
    table.assign(predicted_idx=table.predicted_idx.clip(upper=table.n_options - 2) + 1).to_csv(tmp_path / "one.csv")
    assert any("counted from 1" in note for note in read_submission(tmp_path / "one.csv", run.questions)[1])


def test_probabilities_are_kept_and_other_scores_become_them(run, tmp_path):
    asked = run.questions[run.questions.wording == 1]
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=n).tolist() for n in asked.n_options]
    shares = [np.exp(row) / np.exp(row).sum() for row in logits]
    for name, scores in (("logits", logits), ("shares", [row.tolist() for row in shares])):
        asked[KEY].assign(scores=scores).to_parquet(tmp_path / f"{name}.parquet")
    one, other = (read_submission(tmp_path / f"{name}.parquet", run.questions)[0] for name in ("logits", "shares"))
    pd.testing.assert_frame_equal(one, other)
    rounded = [np.round(row, 2).tolist() for row in shares]
    asked[KEY].assign(scores=rounded).to_parquet(tmp_path / "rounded.parquet")
    close, notes = read_submission(tmp_path / "rounded.parquet", run.questions)
    assert np.abs(close.p_answer - one.p_answer).max() < 0.02 and "read as probabilities" in " ".join(notes)
    expected = [row[i] for row, i in zip(shares, asked.answer_idx, strict=True)]
    np.testing.assert_allclose(one.p_answer, expected, atol=1e-9)


def test_what_cannot_be_told_apart_is_refused(run, path, tmp_path, capsys):
    table = own_table(run, 1)[[*KEY, "predicted_idx"]]

    def refuse(changed, *words, name="x.csv"):
        file = tmp_path / name
        changed.to_csv(file, index=False)
        fails(capsys, ["score", file, "--dataset", path, "--model", "m", "--out", tmp_path / "o"], *words)

    refuse(pd.concat([table, table.head(1)]), f"row {len(table)}", "second answer", str(table.image_id.iloc[0]))
    refuse(table.drop(columns="image_id"), "lacks the column image_id")
    refuse(table.drop(columns="predicted_idx"), "says nothing", "predicted_idx, answer")
    refuse(table.assign(predicted_idx=[9, *table.predicted_idx[1:]]), "row 0", "no index of the")
    refuse(table.assign(predicted_idx=[None, *table.predicted_idx[1:]]), "row 0", "leave out rows without an answer")
    refuse(table.assign(predicted_idx=[0.5, *table.predicted_idx[1:]]), "row 0", "0.5")
    refuse(table.assign(image_id="nobody-" + table.image_id), "no row is of a question", "nobody")
    refuse(table.head(0), "has no rows")
    scores = table.drop(columns="predicted_idx").assign(scores="[1, 2]")
    refuse(scores, "row", "finite scores are needed")
    refuse(scores.assign(scores="[1, NaN, 2, 3]"), "finite scores are needed")
    refuse(scores.assign(scores="1 2"), "JSON list")
    refuse(table, ".csv, .tsv or .parquet", name="x.txt")
    arguments = ["--dataset", path, "--model", "m", "--out", str(tmp_path / "o")]
    fails(capsys, ["score", tmp_path / "missing.csv", *arguments], "missing.csv")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    fails(capsys, ["score", tmp_path / "junk.parquet", *arguments], "cannot read")
    table.to_csv(tmp_path / "x.csv", index=False)
    fails(
        capsys, ["score", tmp_path / "x.csv", "--dataset", path, "--model", "hf:x", "--out", "o"], "is a model string"
    )


def test_an_image_id_in_two_sets_needs_its_set(rows, parquet, tmp_path):
    """As in the three sets of Burgess et al."""
    rows = rows[:3]
    rows[0]["dataset"], rows[1]["dataset"] = "demo_a", "demo_b"
    rows[1]["image_id"] = rows[0]["image_id"]
    questions = build_questions(load_benchmark(parquet(rows)))
    chosen = questions[questions.wording == 1]
    table = chosen[["image_id", "question"]].assign(predicted_idx=0)
    table.to_csv(tmp_path / "all.csv", index=False)
    with pytest.raises(UserError, match="several sub-datasets.*add the column dataset"):
        read_submission(tmp_path / "all.csv", questions)
    table[table.image_id == rows[2]["image_id"]].to_csv(tmp_path / "one.csv", index=False)
    assert set(read_submission(tmp_path / "one.csv", questions)[0].dataset) == {rows[2]["dataset"]}


def test_scores_that_say_nothing_and_a_column_that_is_not_read_are_noted(path, run, tmp_path):
    table = own_table(run)[KEY].assign(scores=[[0.5] * n for n in own_table(run).n_options], answer="B")
    table.to_parquet(tmp_path / "flat.parquet")
    found = evaluate(path, [f"predictions:{tmp_path / 'flat.parquet'}"])
    notes = " ".join(found.record["models"][f"predictions:{tmp_path / 'flat.parquet'}"]["notes"])
    assert "(100.0 %) are exact ties" in notes and "column scores is read, and not answer" in notes


def test_names_of_datasets_are_read_as_in_the_dataset(rows, parquet, tmp_path):
    """Blanks around a name and decomposed accents, in the answers as in the dataset itself."""
    rows[0]["dataset"] = "se\u0301rie "
    questions = build_questions(load_benchmark(parquet(rows[:1])))
    questions[KEY].assign(dataset="se\u0301rie ", predicted_idx=0).to_csv(tmp_path / "answers.csv", index=False)
    predictions, _ = read_submission(tmp_path / "answers.csv", questions)
    assert len(predictions) == len(questions) and set(predictions.dataset) == {"s\u00e9rie"}


# Caption wordings of one's own


def write(tmp_path, text, name="mine.yml"):
    file = tmp_path / name
    file.write_text(text)
    return str(file)


def test_templates_are_scored_like_the_two_wordings(path, run, tmp_path):
    file = write(
        tmp_path, "short: {modality: 'by {class}', classification: '{class}'}\nlong: {modality: 'it is {class}'}"
    )
    with_own = evaluate(path, ["demo-base"], device="cpu", precision="float32", templates=file)
    assert with_own.record["dataset"]["wordings"] == {0: "0", 1: "1", 2: "2 (short)", 3: "3 (long)"}
    assert set(with_own.questions[with_own.questions.wording == 3].question) == {"modality"}
    short = with_own.questions[(with_own.questions.wording == 2) & (with_own.questions.question == "modality")].iloc[0]
    assert short.options[:-1] == tuple(f"by {label}" for label in short.labels[:-1])
    assert short.options[-1] == "none of the above"
    before = run.predictions.set_index(KEY).predicted_idx
    after = with_own.predictions.set_index(KEY).predicted_idx
    assert (after.reindex(before.index) == before).all() and len(after) > len(before)
    flat = write(tmp_path, "modality: 'by {class}'", "plain.yml")
    assert evaluate(path, ["random"], templates=flat).record["dataset"]["wordings"][2] == "2 (plain)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["write NAME"]),
        ("- a", ["write NAME"]),
        ("{", ["is no YAML"]),
        ("own: {colour: 'by {class}'}", ["no question type 'colour'", "modality"]),
        ("own: {modality: 'by light'}", ["own", "modality", "lacks {class}"]),
        ("own: 3\nother: {}", ["wording 'own'"]),
        ("own: {}", ["wording 'own'"]),
    ],
)
def test_wrong_templates(capsys, path, tmp_path, text, words):
    file = write(tmp_path, text)
    fails(capsys, ["evaluate", "--dataset", path, "--models", "random", "--out", "o", "--templates", file], *words)
    missing = ["evaluate", "--dataset", path, "--models", "random", "--out", "o", "--templates", "nowhere.yml"]
    fails(capsys, missing, "nowhere.yml")
