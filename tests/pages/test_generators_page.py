"""The page on models that reply: examples are read as it says, its prompt is what is asked, its commands run."""

import re
import shlex

import pytest
from helpers.endpoint import reply, served

from ubench_utils.cli import main
from ubench_utils.models.generators.endpoint import CONCURRENCY, PARAMETERS
from ubench_utils.models.generators.local import MOST_TOKENS
from ubench_utils.models.generators.protocol import is_right, prompt
from ubench_utils.models.replies import NO_OPTION, read_reply
from ubench_utils.pages.runner import ROOT

PAGE = (ROOT / "book" / "generators.md").read_text(encoding="utf-8")
OPTIONS = ("electron microscopy", "light microscopy", "fluorescence microscopy", "none of the above")


def test_its_examples_are_read_as_it_says():
    rows = re.findall(r"^\| `(.+?)`(.*?) \| (right|wrong) \| (right|wrong|unreadable) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 7
    for text, rest, official, strict in rows:
        option = re.search("`(.+)`", rest)
        options = (OPTIONS[0], option[1], *OPTIONS[2:]) if option else OPTIONS
        assert is_right(text, 1, options) == (official == "right"), text
        found = read_reply(text, options).index
        assert {1: "right", NO_OPTION: "unreadable"}.get(found, "wrong") == strict, text


def test_its_prompt_is_the_one_that_is_asked():
    (block,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
    assert block == prompt("What is the most likely microscopy modality used to acquire this image?", OPTIONS)


def test_its_numbers_are_those_of_the_code():
    assert f"at most {MOST_TOKENS} tokens" in PAGE and f"; {CONCURRENCY} without it" in PAGE
    assert f"{PARAMETERS['max_tokens']:,} without it" in PAGE and f"temperature is {PARAMETERS['temperature']}" in PAGE


@pytest.mark.slow
def test_its_commands_run_as_they_stand(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^ubench (.*?)$", PAGE.replace("\\\n", ""), re.MULTILINE)
    assert len(commands) == 4
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with served(lambda request, before: (200, {}, reply())) as (url, requests):
        for command in commands:
            given = (
                command.replace("hf:DIR", "").replace("http://localhost:8000/v1", url).replace("https://HOST/v1", url)
            )
            assert main(shlex.split(given)) == 0
        told = capsys.readouterr()
    assert (tmp_path / "here" / "predictions.parquet").exists() and (tmp_path / "there" / "run.json").exists()
    assert (tmp_path / "audited" / "audit.csv").exists()
    assert not (tmp_path / "paid").exists() and "nothing was asked" in told.out and "MB to send" in told.err + told.out
    assert len(requests) > 100 and "sk-secret" not in told.out + told.err
