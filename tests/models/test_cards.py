"""Models files of the user: what is wrong in them is told in one line, whatever YAML can hold."""

import pytest
from helpers.refusals import NESTED, fails

from ubench_utils.errors import UserError
from ubench_utils.models.cards import FAMILIES, KINDS, PACKAGE, model_cards
from ubench_utils.models.registry import SPEC_HELP

WRONG = {
    "a list": ("- mine", "write NAME"),
    "a text": ("mine", "write NAME"),
    "circular": ("mine: &a {spec: *a}", "spec is a text, not a dict"),
    "a circular list": ("mine: {spec: random, about: &a [*a]}", "about is a text, not a list"),
    "very nested": (f"mine: {NESTED}", "is no YAML"),
    "a date that does not exist": ("mine: {spec: random, about: 2024-13-45}", "is no YAML"),
    "a date": ("mine: {spec: random, revision: 2024-01-02}", "revision is a text"),
    "true": ("mine: {spec: random, category: yes}", "category is a text"),
    "a key of another kind": ("mine: {spec: random, 1: a}", "unknown key 1"),
    "a tag that would run": ("mine: !!python/object/apply:os.getcwd []", "is no YAML"),
    "a base that is a list": ("mine: {spec: random, base: [demo-base]}", "base is a text"),
    "an empty domain": ("mine: {spec: random, in_domain: {}}", "in_domain"),
    "a domain of numbers": ("mine: {spec: random, in_domain: {modality: 3}}", "in_domain"),
    "a mean of text": ("mine: {spec: random, preprocess: {mean: abc}}", "mean in preprocess is a list of three"),
    "a mean of two": ("mine: {spec: random, preprocess: {mean: [0, 0]}}", "mean in preprocess"),
    "no deviation": ("mine: {spec: random, preprocess: {std: [0, 1, 1]}}", "std in preprocess is a list of three"),
    "an infinite mean": ("mine: {spec: random, preprocess: {mean: [.inf, 0, 0]}}", "mean in preprocess"),
    "another resizing": ("mine: {spec: random, preprocess: {resize_mode: stretch}}", "shortest, longest or squash"),
    "a list for a word": ("mine: {spec: random, preprocess: {interpolation: [a]}}", "bicubic or bilinear"),
    "no mapping": ("{", "is no YAML"),
    "a name alone": ("mine: text", "entry 'mine': write NAME: {spec"),
    "no spec": ("mine: {colour: '#123456'}", "entry 'mine': write NAME: {spec"),
    "an unknown key": ("mine: {spec: random, color: red}", "unknown key color; the keys are .*colour"),
    "a colour by name": ("mine: {spec: random, colour: red5}", "#rrggbb.*red5"),
    "another activation": ("mine: {spec: random, activation: GELU}", "activation is gelu or quickgelu"),
    "a domain without a facet": ("mine: {spec: random, in_domain: pathology}", "in_domain.*modality"),
    "an unknown facet": ("mine: {spec: random, in_domain: {domane: x}}", "in_domain.*modality"),
    "an unknown base": ("mine: {spec: random, base: nosuch}", "entry 'mine': its base 'nosuch'"),
    "itself as a base": ("mine: {spec: random, base: mine}", "entry 'mine': its base 'mine'"),
    "an unknown preprocessing": ("mine: {spec: random, preprocess: {crop: 3}}", "preprocess.*resize_mode"),
    "preprocess as text": ("mine: {spec: random, preprocess: squash}", "preprocess is a mapping"),
    "an endpoint elsewhere": ("mine: {spec: random, endpoint: {timeout: 2}}", "for models behind an address"),
}
SETTINGS = {  # of an endpoint
    "fast": "endpoint is a mapping with keys of concurrency",
    "{seed: 1}": "endpoint is a mapping",
    "{concurrency: 0}": "concurrency in endpoint is a whole number",
    "{max_tokens: 0.5}": "max_tokens in endpoint is a whole number",
    "{timeout: true}": "timeout in endpoint is a number of seconds",
    "{price_in: -1, price_out: 1}": "price_in in endpoint is the price of a million tokens",
    "{price_in: 1}": "both price_in and price_out",
    "{key_env: sk-12345}": "the variable that holds the key, not the key$",
}
WRONG |= {
    given: (f"mine: {{spec: 'api:m@http://localhost/v1', endpoint: {given}}}", word) for given, word in SETTINGS.items()
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_entry_is_one_line(tmp_path, monkeypatch, name):
    text, word = WRONG[name]
    (tmp_path / "models.yml").write_text(text)
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "models.yml"))
    with pytest.raises(UserError, match=word) as caught:
        model_cards()
    assert len(str(caught.value)) < 600


def test_the_program_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "nowhere.yml"))
    fails(capsys, ["list", "models"], "UBENCH_MODELS", "nowhere.yml")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "latin.yml").write_bytes("mine: {spec: random, about: é}".encode("latin-1"))
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    for name, word in {
        "latin.yml": "save it as UTF-8",
        "loop.yml": "cannot read",
        "none.yml": "cannot read",
        ".": "is no file",
        "x" * 300: "cannot read",
    }.items():
        monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / name))
        with pytest.raises(UserError, match=word):
            model_cards()


def test_a_sound_entry(tmp_path, monkeypatch):
    preprocess = (
        "{mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 1], interpolation: bicubic, resize_mode: squash, fill_color: 0}"
    )
    (tmp_path / "a.yml").write_text(f"模型 $x$: {{spec: 'open_clip:RN50', revision: 1, preprocess: {preprocess}}}")
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "a.yml"))
    assert model_cards()["模型 $x$"].preprocess["std"] == [0.5, 0.5, 1]


def test_every_family_is_described():
    said = " ".join(SPEC_HELP)
    assert all(kind in said for kind in FAMILIES) and ("random" in FAMILIES and "random" not in KINDS)
    assert (PACKAGE / "models" / "models.yml").is_file() and "ubench_utils/models/models.yml" in SPEC_HELP["NAME"]
