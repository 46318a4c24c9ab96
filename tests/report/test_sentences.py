"""The one-line answers: their numbers are the table's, their claims those that the intervals carry."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError, UndefinedError

import ubench_utils
from ubench_utils.data.benchmark import NOT_STATED
from ubench_utils.report import sentences
from ubench_utils.report.text import percent
from ubench_utils.studies import forgetting, interpolation, overview

PACKAGE = Path(ubench_utils.__file__).parent
GOOD, WEAK, CHANCE = "demo-pathology", "demo-base", "random"


def row(model, accuracy, half=0.02, level="coarse", question="all", by="all", slice_="all", chance=0.25, **other):
    """One row of a table of scores; `half` is the half-width of the interval."""
    return {
        "model": model,
        "level": level,
        "question": question,
        "wording": 1,
        "by": by,
        "slice": slice_,
        "estimand": "micro",
        "estimate": accuracy,
        "ci_low": accuracy - half,
        "ci_high": accuracy + half,
        "n_questions": 100,
        "n_images": 100,
        "chance": chance,
        "chance_corrected": (accuracy - chance) / (1 - chance),
        "interval": "bootstrap",
        **other,
    }


def fine(model, accuracy, half=0.02, **other):
    return row(model, accuracy, half, level="fine", question="classification", **other)


def scores(*rows):
    """A table of scores, with rows of the other wording and estimand that no sentence may use."""
    decoys = [
        {**one, **change, "estimate": 0.999, "ci_low": 0.998, "ci_high": 1.0}
        for one in rows
        for change in ({"wording": 0}, {"estimand": "macro"})
    ]
    return pd.DataFrame([*rows, *decoys])


def by_slice(values, half=0.02, by="scale", model=WEAK):
    return [fine(model, value, half, by=by, slice_=name) for name, value in values.items()]


def contrast(estimate, half=0.05, n=100):
    return {
        "estimate": estimate,
        "ci_low": estimate - half,
        "ci_high": estimate + half,
        "n_questions": n,
        "n_images": n,
    }


def sentence(text):
    """Check what holds for every sentence of a page, and return it."""
    assert "\n" not in text and re.search(r"[^\s:,;]\.$", text) and text == text.strip()
    assert not re.search(r"\b(nan|none|inf)\b", text, re.IGNORECASE), text
    assert "  " not in text and "99.9" not in text, text
    return text


def claim(text):
    """The words of a sentence without its numbers."""
    return re.sub(r"–|[+−]?\d+(\.\d+)?( \[[^]]*\])?", "#", text)


def best(table):
    asked = table.groupby("level").n_questions.max().to_dict()
    return sentences.sentence("overview", "answer", **overview.context(table, asked))


def profile(table, model):
    return sentences.sentence("model", "answer", **overview.profile(table, model))


def slices(table, by, question, **options):
    return sentences.sentence("modality", "answer", slices=overview.slices(table, by, question, **options))


def changed(pairs):
    cells = pd.DataFrame({"p_adjusted": [0.5], "estimate": [0.1], "small": [False]})
    context = forgetting.change_context(pairs, dict.fromkeys(pairs, cells))
    return sentences.sentence("forgetting", "answer", **context)


def mixed(results):
    return sentences.sentence("interpolation", "answer", **interpolation.mixing_context(results, {}))


# ------------------------------------------------------------------------------------------------------ overview


def test_overview_gives_the_best_and_its_numbers():
    table = [row(WEAK, 0.5), row(GOOD, 0.6123), fine(WEAK, 0.45, chance=0.2), fine(GOOD, 0.41), row(CHANCE, 0.9)]
    text = sentence(best(scores(*table)))
    assert GOOD in text and percent(0.6123, 0.5923, 0.6323) in text and percent(0.25) in text
    assert percent(0.45, 0.43, 0.47) in text and percent(0.2) in text
    assert percent(0.41, 0.39, 0.43) not in text and CHANCE not in text


@pytest.mark.parametrize(
    ("accuracy", "half", "above"), [(0.4, 0.1, True), (0.4, 0.15, False), (0.3, 0.1, False), (0.2, 0.02, False)]
)
def test_overview_names_who_is_not_above_chance(accuracy, half, above):
    table = [row(GOOD, 0.6), fine(GOOD, 0.6), row(WEAK, 0.5), fine(WEAK, accuracy, half)]
    text = sentence(best(scores(*table)))
    assert (WEAK in text) is not above
    assert (claim(text) == claim(best(scores(*table[:3], fine(WEAK, 0.55))))) is above


@pytest.mark.parametrize(
    ("n", "words"), [(0, "This run has none"), (1, "1 score of this run has"), (12, "12 scores of this run have")]
)
def test_overview_says_whether_scores_have_a_published_counterpart(n, words):
    assert words in sentences.sentence("overview", "beside", n_beside=n)


def test_overview_of_one_level_or_of_none():
    text = sentence(best(scores(row(GOOD, 0.6))))
    assert percent(0.6, 0.58, 0.62) in text and "fine" not in text
    assert "#" not in claim(sentence(best(scores(row(CHANCE, 0.25), fine(CHANCE, 0.25)))))


@pytest.mark.parametrize("only", [{"question": "modality"}, {"question": "cognition", "level": "cognition"}])
def test_a_dataset_with_one_question_type_has_its_answer(only):
    table = scores(row(GOOD, 0.6, **only), row(WEAK, 0.5, **only))
    assert percent(0.6, 0.58, 0.62) in sentence(best(table))
    assert percent(0.5, 0.48, 0.52) in sentence(profile(table, WEAK))


# -------------------------------------------------------------------------------------------------------- slices


def test_slices_give_worst_and_best():
    table = by_slice({"tissue": 0.5, "cellular": 0.31, "subcellular": 0.7, NOT_STATED: 0.1}, 0.04)
    text = sentence(slices(scores(*table), "scale", "classification"))
    assert text.index(percent(0.31, 0.27, 0.35)) < text.index("cellular")
    assert percent(0.7, 0.66, 0.74) in text and "subcellular" in text and WEAK in text
    assert "tissue" not in text and NOT_STATED not in text and percent(0.1) not in text


@given(st.floats(0.05, 0.45), st.floats(0.5, 0.95), st.floats(0.005, 0.3), st.floats(0.005, 0.3))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_slices_claim_a_difference_only_where_intervals_are_apart(low, high, half_low, half_high):
    def of(*halves):
        rows = by_slice({"tissue": low}, halves[0]) + by_slice({"cellular": high}, halves[1])
        return sentence(slices(scores(*rows), "scale", "classification"))

    apart = low + half_low < high - half_high
    clear, unclear = claim(of(0.001, 0.001)), claim(of(0.5, 0.5))
    assert clear != unclear
    assert claim(of(half_low, half_high)) == (clear if apart else unclear)


def test_slices_chance_corrected():
    rows = [
        fine(WEAK, 0.6, by="scale", slice_="tissue", chance=0.5),
        fine(WEAK, 0.5, by="scale", slice_="cellular", chance=0.2),
    ]
    text = sentence(slices(scores(*rows), "scale", "classification", corrected=True))
    # tissue is the worse one after the correction: 0.2 [0.16, 0.24] against 0.375 [0.35, 0.40]
    assert "0.20 [0.16, 0.24]" in text and "[0.35, 0.40]" in text
    assert text.index("0.20") < text.index("tissue") < text.index("cellular")


def test_slices_with_only_one_stated_or_only_the_baseline():
    one = by_slice({"tissue": 0.5, NOT_STATED: 0.3})
    baseline = by_slice({"tissue": 0.2, "cellular": 0.4}, model=CHANCE)
    for table in (one, baseline, one + baseline):
        text = sentence(slices(scores(*table), "scale", "classification"))
        assert ("random baseline" if table is baseline else "scale") in text and "%" not in text
        assert WEAK not in text and f"{CHANCE} from" not in text


# ---------------------------------------------------------------------------------------------------- forgetting

CHANGES = {"gain": (0.2, 0.05), "loss": (-0.2, 0.05), "noise": (0.02, 0.05)}


def after_tuning(inside, outside):
    pair = {(WEAK, GOOD): (contrast(*CHANGES[inside]), contrast(0.0), contrast(*CHANGES[outside]))}
    return sentence(changed(pair))


def test_forgetting_gives_the_numbers():
    text = after_tuning("gain", "loss")
    assert GOOD in text and WEAK in text
    assert "+20.0 [+15.0, +25.0]" in text and "−20.0 [−25.0, −15.0]" in text
    assert text.index("+20.0") < text.index("−20.0")


def test_forgetting_tells_the_cases_apart():
    cases = [("gain", "loss"), ("gain", "noise"), ("noise", "loss"), ("noise", "noise")]
    assert len({claim(after_tuning(*case)) for case in cases}) == 4


@pytest.mark.parametrize(
    ("case", "other"),  # where the first changed clearly and the second did not
    [
        (("loss", "noise"), ("noise", "noise")),
        (("noise", "gain"), ("noise", "noise")),
        (("loss", "gain"), ("noise", "gain")),
        (("loss", "loss"), ("noise", "loss")),
    ],
)
def test_forgetting_does_not_call_a_clear_change_noise(case, other):
    assert claim(after_tuning(*case)) != claim(after_tuning(*other))


def test_forgetting_claims_nothing_of_what_was_not_asked():
    nothing = {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n_questions": 0, "n_images": 0}
    text = sentence(changed({(WEAK, GOOD): (contrast(0.2), nothing, nothing)}))
    assert claim(text) not in {claim(after_tuning("gain", outside)) for outside in CHANGES}


def test_no_pair_in_the_run():
    for text in (changed({}), mixed({})):
        assert "base" in sentence(text) and not re.search(r"\d", text)


# ------------------------------------------------------------------------------------------------- interpolation


def summary(bend, half=0.01):
    keys = {"in_middle": 0.111, "in_end": 0.222, "out_middle": -0.033, "out_end": -0.144, "above_line": bend}
    return {key: contrast(value, half) for key, value in keys.items()} | {"fine_above_line": contrast(0.0)}


def test_interpolation_gives_the_numbers():
    text = sentence(mixed({(WEAK, GOOD): summary(0.055)}))
    assert all(number in text for number in ("+11.1", "+22.2", "−3.3", "−14.4", "+5.5 [+4.5, +6.5]"))
    assert GOOD in text and WEAK in text


def test_interpolation_claims_what_the_interval_carries():
    above, below, unclear = (
        claim(mixed({(WEAK, GOOD): summary(*bend)})) for bend in ((0.05, 0.01), (-0.05, 0.01), (0.05, 0.06))
    )
    assert len({above, below, unclear}) == 3
    assert claim(mixed({(WEAK, GOOD): summary(-0.05, 0.06)})) == unclear
    assert "above" in above and "below" in below


def test_interpolation_of_several_pairs():
    pairs = {(WEAK, GOOD): summary(0.05), (WEAK, "demo-fluorescence"): summary(-0.05)}
    text = sentence(mixed(pairs))
    assert text.index(GOOD) < text.index("above") < text.index("demo-fluorescence") < text.index("below")


# --------------------------------------------------------------------------------------------------------- model


def test_model_gives_scores_and_extremes():
    sets = {"one": (0.6, 0.5), "two": (0.5, 0.2), "three": (0.45, 0.25)}
    table = [row(WEAK, 0.51), fine(WEAK, 0.42, chance=0.3), row(GOOD, 0.7), fine(GOOD, 0.8)]
    table += [fine(WEAK, a, by="dataset", slice_=name, chance=c) for name, (a, c) in sets.items()]
    text = sentence(profile(scores(*table), WEAK))
    for number in (percent(0.51, 0.49, 0.53), percent(0.42, 0.40, 0.44), percent(0.3), percent(0.5, 0.48, 0.52)):
        assert number in text
    # by distance from chance: two is the strongest although one has the higher accuracy
    assert text.index(" two ") < text.index(" one ") and "three" not in text
    assert WEAK in text and GOOD not in text and percent(0.7) not in text


def test_model_of_one_sub_dataset_or_of_the_baseline_has_no_extremes():
    one = [fine(WEAK, 0.4), fine(WEAK, 0.4, by="dataset", slice_="one")]
    baseline = [fine(CHANCE, 0.25)] + [fine(CHANCE, a, by="dataset", slice_=s) for s, a in (("one", 0.1), ("two", 0.4))]
    for table, name in ((one, WEAK), (baseline, CHANCE)):
        text = sentence(profile(scores(*table), name))
        assert name in text and " one " not in text and " two " not in text


# ---------------------------------------------------------------------------------------------------- data line


def run_on(name, synthetic):
    images = pd.DataFrame({"dataset": ["a", "b"] * 600, "synthetic": "synthetic" if synthetic else "real"})
    facts = {"name": name, "images": images, "pictures": images, "is_synthetic": synthetic, "notes": []}
    return SimpleNamespace(benchmark=SimpleNamespace(**facts))


def test_data_line_says_what_is_synthetic():
    for name, synthetic in (("demo", True), ("copy.parquet", True), ("jnirschl/uBench", False)):
        text = sentence(sentences.data_line(run_on(name, synthetic)))
        assert ("synthetic" in text) is synthetic and "1,200" in text and re.search(r"\b2\b", text)
        assert name == "demo" or name in text


# ----------------------------------------------------------------------------------------------------- templates


def test_words_of_the_data_are_no_template_and_stay_on_one_line():
    run = run_on("{{ 7 * 7 }}\n\n## data {% raw %} \u202e <b>", False)
    text = sentences.data_line(run)
    assert "Measured on {{ 7 * 7 }} ## data {% raw %} \\u202e <b>: " in text and "49" not in text


def test_what_a_sentence_needs_must_be_given():
    with pytest.raises(UndefinedError, match="n_models"):
        sentences.sentence("overview", "answer")


@pytest.mark.parametrize("template", ["{{ x.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ x.append(1) }}"])
def test_a_template_reaches_nothing_but_its_values(template):
    with pytest.raises(SecurityError):
        sentences.environment().from_string(template).render(x=[])


def test_templates_are_read_and_all_have_names():
    pages = sorted(file.stem for file in (sentences.TEMPLATES / "sentences").glob("*.md"))
    for page in pages:
        text = (sentences.TEMPLATES / "sentences" / f"{page}.md").read_text("utf-8")
        names = sentences.HEADING.findall(text)
        assert page == "shared" or names and len(names) == len(set(names)), page
    for card in (sentences.TEMPLATES / "cards").glob("*.html"):
        assert sentences.environment().get_template(f"cards/{card.name}")


DRAWN = {"labels.py", "lessons.py"}  # alt texts of figures, which are made of what is drawn
PENDING: set = set()
TAG = re.compile(r"</?[a-z]+[ >]")


def is_sentence(text):
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(words) > 7 or (len(words) > 3 and text.rstrip().endswith("."))


def test_numbers_and_form_hold_no_sentence_and_no_tag():
    """Sentences and HTML are templates: in studies and report, only docstrings and errors have words in a row."""
    found = []
    for file in sorted(path for room in ("studies", "report") for path in (PACKAGE / room).glob("*.py")):
        if file.name in DRAWN | PENDING:
            continue
        tree = ast.parse(file.read_text("utf-8"))
        spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise):
                spoken |= {id(part) for part in ast.walk(node)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        for node in texts:
            if id(node) not in spoken and (TAG.search(node.value) or is_sentence(node.value)):
                found.append(f"{file.parent.name}/{file.name}:{node.lineno}: {node.value}")
    assert not found, "\n".join(found)
