"""What is recomputed from published numbers: against a second computation, and against what must be true."""

import numpy as np
import pytest

from ubench_utils.data.benchmark import HUB_NAME
from ubench_utils.data.questions import COARSE
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.statistics import scores as stats
from ubench_utils.studies import published, reconciliation


def said(name):
    return sentences.sentence("published", name, **published.findings())


def test_chance_follows_from_the_numbers_of_options():
    """The paper's random row, an independent draw, lies within its interval of the exact chance (coarse)."""
    exact, drawn = published.chance(), published.read("table1").query("model == 'Random'").set_index("level")
    assert abs(exact["coarse"] - drawn.accuracy["coarse"]) < drawn.ci_half_width["coarse"]
    assert abs(exact["fine"] - drawn.accuracy["fine"]) < drawn.ci_half_width["fine"]
    assert published.questions().n.sum() == 79716 and published.datasets().n_images.sum() == 16130


def test_intervals_hold_the_printed_value_and_its_rounding():
    for table in (published.by_question(), published.by_dataset(1)):
        assert (table.ci_low <= np.maximum(table.accuracy - 0.5, 0)).all()
        assert (table.ci_high >= np.minimum(table.accuracy + 0.5, 100)).all()
        assert table.ci_low.ge(0).all() and table.ci_high.le(100).all()
        wide = (table.ci_high - table.ci_low).groupby(table.n).median()
        assert wide.is_monotonic_decreasing or wide.iloc[0] > wide.iloc[-1]


def test_interpolation_figure_shows_macro_averages():
    """Plain means over sub-datasets give the figure within its reading error; pooled totals do not."""
    figure = published.read("interpolation_figure").query("level == 'fine' and slice == 'all'").set_index("model")
    table = (
        published.recomputed().query("level == 'fine'").set_index("model").loc[["CLIP", "OpenCLIP", "PLIP", "QuiltNet"]]
    )
    assert (table.macro - figure.accuracy.reindex(table.index)).abs().max() < 0.3
    assert (table.micro - figure.accuracy.reindex(table.index)).abs().min() > 0.9


def test_implied_number_of_questions_inverts_the_half_width():
    table = published.implied_questions()
    p = table.accuracy / 100
    assert np.allclose(100 * 1.959964 * np.sqrt(p * (1 - p) / table.implied), table.ci_half_width, atol=1e-4)
    fine = table.query("level == 'fine'").set_index("model").implied
    assert abs(fine["GPT-4o"] - 14644) < abs(fine["GPT-4o"] - 16130)
    assert (fine.drop("GPT-4o") > fine["GPT-4o"]).all()


def test_wrong_reading_of_blip_is_the_expectation_of_a_first_or_second_option():
    """Simulated: the right option anywhere but last, the answer the first or the second whatever the image."""
    rng = np.random.default_rng(0)
    for row in published.two_way_head().itertuples():
        options = round(100 / row.chance)
        right = rng.integers(0, options - 1, 40_000) == rng.integers(0, 2, 40_000)
        expected = 100 * right.mean() if options > 2 else 50
        assert row.index_read_as_option == pytest.approx(expected, abs=1.0)


def test_numbers_that_are_no_accuracies_are_left_out():
    for table in (published.by_question(), published.by_dataset(), published.totals()):
        assert "BLIP" not in set(table.model) and "CLIP" in set(table.model)
    assert "BLIP" in set(published.by_dataset(invalid=True).model) and len(published.two_way_head()) == 28
    assert "BLIP" not in said("modality")


def test_one_answer_for_all_images_is_what_the_counts_give():
    table = published.read("datasets").query("in_table1")
    light = table.n_images[table.modality == "light microscopy"].sum() / 16130
    assert f"“light microscopy” would score {100 * light:.0f} %" in said("same")
    assert said("simulated") == f"{100 * table.n_images[table.synthetic].sum() / 16130:.0f} %"


def test_pathology_models_on_their_own_images_are_pooled_by_images():
    table = published.read("fine_by_dataset").query("caption_template == 1 and model == 'CONCH'")
    own = published.read("datasets").query("in_pathology_slice and in_table1").set_index("dataset").n_images
    accuracy = table.set_index("dataset").accuracy.reindex(own.index)
    assert f"{(accuracy * own).sum() / own.sum():.1f} (CONCH)" in said("specialists")


def test_published_wins_of_the_merge():
    table = published.interpolation().query("level == 'fine'").set_index(["merge", "parent"])
    assert (table.merge_he > table.parent_he).all()  # the paper's fourth finding
    assert table.merge_all["QuiltNet+CLIP", "CLIP"] < table.parent_all["QuiltNet+CLIP", "CLIP"]  # and its limit


def test_mixtures_are_placed_by_more_than_reading_and_sampling_explain():
    """On coarse questions one mixture is above CLIP and both parents; on fine ones it cannot be told from CLIP."""
    text = said("mixtures")
    assert "PLIP+OpenCLIP reaches 43.7 % on coarse questions, above CLIP (35.4) and both parents, and 30.9 %" in text
    assert "30.9 % on fine questions, which cannot be told from CLIP (31.2);" in text
    assert text.endswith(
        "QuiltNet+CLIP reaches 31.4 % on coarse questions, below CLIP (35.4), and 29.6 % on fine questions, "
        "below CLIP (31.2)."
    )
    assert text.startswith("Of 2 mixtures, 2 are above both parents on fine questions of H&E slides, and 0 on coarse")
    figure = published.read("interpolation_figure").query("slice == 'all'").set_index(["model", "level"]).accuracy
    half = published.read("table1").set_index(["model", "level"]).ci_half_width
    for one in published.findings()["merges"]:
        for level, reading in published.READING.items():
            over, error = (
                figure[one["merge"], level] - figure["CLIP", level],
                half["CLIP", level] * 2**0.5 + 2 * reading,
            )
            assert one[level]["against"] == int(over > error) - int(over < -error)


def test_forgetting_intervals_are_those_of_independent_answers():
    table = published.forgetting().dropna(subset="n")
    p, q, n = table.base_accuracy / 100, table.tuned_accuracy / 100, table.n
    half = 1.959964 * np.sqrt((p * (1 - p) + q * (1 - q)) / n) * 100 + 1
    assert np.allclose(table.ci_high - table.difference, half, atol=1e-3)
    assert np.allclose(table.difference - table.ci_low, half, atol=1e-3)


def test_findings_quote_the_tables():
    totals = published.totals()
    text = " ".join(said(name) for name in ("modality", "specialists", "forgetting", "interpolation"))
    for model in ("PLIP", "QuiltNet", "CLIP"):
        for value in totals[(totals.model == model) & (totals.level != "cognition")].accuracy:
            assert f"{value:.1f}" in text, (model, value)
    for value in published.read("interpolation_figure").query("level == 'fine'").accuracy:
        assert f"{value:.1f}" in text, value


@pytest.fixture(scope="module")
def measured():
    run = evaluate("demo", ["random", "demo-base"], limit=60)
    scores = stats.score(run.answers, by=[])
    return scores.assign(model=scores.model.replace({"demo-base": "CLIP"}))


def test_published_numbers_stand_beside_a_run_on_the_hub_alone(measured):
    assert published.beside(measured, "demo").empty
    table = published.beside(measured, HUB_NAME)
    assert set(table.model) == {"CLIP"}
    assert set(zip(table.level, table.question, strict=True)) == {
        ("coarse", "all"),
        ("fine", "classification"),
        *(("coarse", question) for question in COARSE),
    }
    row = table.set_index(["level", "question"]).loc["coarse", "modality"]
    theirs = published.by_question().set_index(["model", "question"]).loc["CLIP", "modality"]
    ours = measured[(measured.model == "CLIP") & (measured.question == "modality") & (measured.wording == 1)]
    ours = ours[ours.estimand == "micro"].iloc[0]
    assert row.difference == pytest.approx(100 * ours.estimate - theirs.accuracy)
    half = np.hypot(100 * (ours.ci_high - ours.estimate), theirs.accuracy - theirs.ci_low)
    assert row.ci_high - row.difference == pytest.approx(half)
    assert (table.ci_low <= table.difference).all() and (table.difference <= table.ci_high).all()


def test_reconciliation_counts_and_compares():
    for function in (reconciliation.interpolation_average, reconciliation.question_counts, reconciliation.bases):
        table = function()
        assert len(table) and table.notna().all(axis=None), function
    assert reconciliation.counts()["sum"] == 22 and reconciliation.counts()["datasets"] == 23
    captions = reconciliation.subdomain_captions()
    given = captions[(captions.of == "subdomain") & captions.in_data]
    assert given.sentence.tolist() == ["–"] and (captions.of == "subdomain").sum() > 2
