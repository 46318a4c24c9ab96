"""Vocabularies: which values stand as options, and which files of values are refused."""

import pandas as pd
import pytest

from ubench_utils.cli import MEANT
from ubench_utils.collection.facts import SCALES, read_vocabulary, stated_facts
from ubench_utils.data.benchmark import COARSE
from ubench_utils.data.questions import NONE_OF_THE_ABOVE
from ubench_utils.errors import UserError


def test_the_vocabulary_holds_distinct_values_of_every_coarse_question():
    vocabulary = read_vocabulary()
    assert [*vocabulary] == [*("modality", "submodality", "domain", "subdomain", "stain"), "classification"]
    assert {*COARSE} == {*vocabulary} - {"classification"} and vocabulary["classification"] == []
    for kind in COARSE:
        folded = {value.casefold() for value in vocabulary[kind]}
        assert len(folded) == len(vocabulary[kind]) >= 3 and NONE_OF_THE_ABOVE not in folded


def test_a_file_replaces_the_values_of_the_types_that_it_names(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text("stain: [Fast Red, Oil Red O]\nclassification: [debris]\n")
    vocabulary = read_vocabulary(str(file))
    assert vocabulary == read_vocabulary() | {"stain": ["Fast Red", "Oil Red O"], "classification": ["debris"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]", "write QUESTION TYPE: "),
        ("colour: [red]", "no question type 'colour'; the types are modality, submodality"),
        ("stain: Giemsa", "stain: write a list of texts"),
        ("stain: [1, 2]", "stain: write a list of texts"),
        ("stain: [H&E, h&e]", "stain: 'H&E' and 'h&e' differ only"),
        ("stain: [", "vocabulary .*mine.yml"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, text, words):
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_vocabulary(str(tmp_path / "mine.yml"))
    with pytest.raises(UserError, match="cannot read the vocabulary"):
        read_vocabulary(str(tmp_path / "none.yml"))


def test_the_command_line_names_all_values_of_a_fact_that_is_one_of_few():
    vocabulary = read_vocabulary()
    for fact, values in (("modality", vocabulary["modality"]), ("scale", SCALES)):
        said = MEANT[fact].partition("(")[2].rstrip(")").split(", ")
        labels = pd.DataFrame({"file": said, "label": "a", fact: said})
        assert set(stated_facts(labels, {}, vocabulary)[fact]) == set(values)


def test_values_may_be_said_in_short_and_in_any_case():
    labels = pd.DataFrame({"file": ["a", "b"], "submodality": ["Phase contrast", "my own microscopy"]})
    facts = stated_facts(labels, {"modality": "LIGHT", "stain": "h&e", "scale": "Cellular"}, read_vocabulary())
    assert facts.submodality.tolist() == ["phase contrast microscopy", "my own microscopy"]
    assert facts.loc[0, ["modality", "stain", "scale"]].tolist() == ["light microscopy", "H&E", "cellular"]
