"""Settings that a user writes as YAML: read without a guess at every door, or refused in one line."""

import os
from itertools import pairwise

import pytest
from helpers.refusals import NESTED

from ubench_utils.data.questions import read_templates
from ubench_utils.errors import UserError
from ubench_utils.files import parse_yaml
from ubench_utils.models.cards import model_cards

BOMB = "a: &a [1, 1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghij"))
NO_YAML = {
    "very nested": f"a: {NESTED}",
    "a date that does not exist": "a: {modality: 2024-13-45}",
    "a number too long to read": f"a: {{modality: {'9' * 6000}}}",
    "a tag that would run": "a: !!python/object/apply:os.getcwd []",
    "a key twice": "a: {modality: 'a {class}'}\na: {modality: 'b {class}'}",
    "a key twice, once as a number": "1: {modality: 'a {class}'}\n'1': {modality: 'b {class}'}",
    "a key twice within": "a: {modality: 'a {class}', modality: 'b {class}'}",
    "half a character": 'a: {modality: "\\ud800 {class}"}',
    "two documents": "---\na: {}\n---\nb: {}\n",
    "mappings that take in each other": "a: &a {p: 1, q: 2}\n"
    + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefghij")),
}
NO_TEMPLATES = {
    "circular": ("a: &a {modality: *a}", "modality: write a sentence with {class}, not a dict"),
    "circular as a whole": ("&a {a: *a}", "no question type 'a'"),
    "lists that stand for millions": (f"{BOMB}k: {{modality: *j}}", "write {QUESTION TYPE"),
    "a list that holds itself": ("a: {modality: &a [*a, *a]}", "not a list"),
    "a number": ("a: {modality: 5}", "not a int"),
    "a sentence without end": (f"a: {{modality: '{'x' * 200_000}'}}", "lacks {class}"),
}


@pytest.mark.parametrize("name", NO_YAML)
def test_what_is_no_yaml_is_one_line_at_every_door(tmp_path, monkeypatch, name):
    (tmp_path / "file.yml").write_text(NO_YAML[name])
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "file.yml"))
    for door in (model_cards, lambda: read_templates(str(tmp_path / "file.yml"))):
        with pytest.raises(UserError, match="is no YAML") as caught:
            door()
        assert len(str(caught.value)) < 400


def test_one_mapping_may_take_in_another():
    text = "a: &a {p: 1, q: 2}\nb: {r: &b {<<: *a, q: 3}}\nc: {<<: *b, s: 4}"
    assert parse_yaml(text, "it")["c"] == {"p": 1, "q": 3, "s": 4}


@pytest.mark.parametrize("name", NO_TEMPLATES)
def test_templates_that_are_none_are_one_line(tmp_path, name):
    text, words = NO_TEMPLATES[name]
    (tmp_path / "t.yml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_templates(str(tmp_path / "t.yml"))
    assert words in str(caught.value) and len(str(caught.value)) < 400


def test_templates_in_another_encoding_or_none_at_all(tmp_path):
    (tmp_path / "latin.yml").write_bytes("a: {modality: 'é {class}'}".encode("latin-1"))
    (tmp_path / "signed.yml").write_bytes("a: {modality: 'é {class}'}".encode("utf-8-sig"))
    os.mkfifo(tmp_path / "pipe.yml")
    assert read_templates(str(tmp_path / "signed.yml")) == {"a": {"modality": "é {class}"}}
    wrong = {"latin.yml": "save it as UTF-8", "pipe.yml": "is no file", ".": "is no file", "none.yml": "cannot read"}
    for name, words in {**wrong, "x" * 300: "cannot read"}.items():
        with pytest.raises(UserError, match=words):
            read_templates(str(tmp_path / name))
    with pytest.raises(UserError, match="is no file"):
        read_templates("/dev/zero")
