"""Every page treats models that compare and models that reply alike, and says what it cannot show of one."""

import re

import pytest
from helpers.endpoint import reply, served
from helpers.pages_in_process import executed, glued
from helpers.samples import as_dataset
from helpers.speakers import make

from ubench_utils.models.generators import local

SECTIONS = ["overview", "leaderboard", "modality", "scale", "specialists", "groups", "cognition", "replies", "model"]


def answer(asked, before):
    """B, and nothing of its probabilities; every other question is declined."""
    content = reply("B")
    content["choices"][0]["logprobs"] = None
    if len(asked["messages"][0]["content"][-1]["text"]) % 2:
        content["choices"][0]["message"] |= {"content": None, "refusal": "I cannot help with that."}
    return 200, {}, content


@pytest.fixture(scope="module")
def place(tmp_path_factory, demo_rows):
    """A dataset, a generator whose replies nobody can read, and an endpoint that declines half; they share a cache."""
    folder = tmp_path_factory.mktemp("both")
    as_dataset(demo_rows[::24]).to_parquet(folder / "some.parquet")
    with pytest.MonkeyPatch.context() as patch, served(answer) as (url, _):
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        patch.delenv("OPENAI_API_KEY", raising=False)
        patch.setattr(local, "MOST_TOKENS", 6)
        yield str(folder / "some.parquet"), f"hf:{make('llava', folder / 'llava')}", f"api:declines@{url}"


def told(page):
    """Words and alt texts that a page shows beside its own text."""
    outputs = [output for cell in page.cells for output in cell.get("outputs", [])]
    tables = [re.sub("<[^>]*>", " ", output.get("data", {}).get("text/html", "")) for output in outputs]
    return " ".join(
        [*glued(page).values(), *tables, *(output.get("data", {}).get("text/plain", "") for output in outputs)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["among others", "unreadable alone", "endpoint alone"])
def test_every_page_runs_and_says_what_is_so(place, mix):
    data, speaker, hosted = place
    models = {
        "among others": ["demo-base", "demo-pathology", "random", speaker, hosted],
        "unreadable alone": [speaker],
        "endpoint alone": [hosted],
    }[mix]
    pages = {}
    for section in SECTIONS:
        own = {"model": {"model": models[-1]}, "scale": {"shrink": [4]}}.get(section, {})
        pages[section] = executed(section, dataset=data, models=models, device="cpu", **own)
        words = told(pages[section])
        assert not re.search(r"\bnan\b|\bNone\b(?! of)", re.sub(r"\bstain\b.{0,80}", "", words)), section
        assert not re.search(r"\(–|– points", " ".join(glued(pages[section]).values())), section
    overview, card = told(pages["overview"]), told(pages["model"])
    for model in set(models) & {speaker, hosted}:
        assert model in glued(pages["overview"])["rules"]
    if mix == "unreadable alone":
        assert "no calibration is shown" in card
        assert "it reads image and text together" in glued(pages["modality"])["left_out"]
    else:
        assert "No probability of its letters is known" in card and "it calls itself served-name" in overview
        assert "it is asked at an address" in glued(pages["modality"])["left_out"]
        assert "they cannot look again here" in glued(pages["scale"])["shrunk"]
    if mix == "among others":
        assert "demo-base (dual encoder)" in glued(pages["overview"])["rules"]
        figures = [
            output.data["image/svg+xml"]
            for cell in pages["modality"].cells
            for output in cell.get("outputs", [])
            if "image/svg+xml" in output.get("data", {})
        ]
        assert figures and "generator" in overview and "baseline" in overview
