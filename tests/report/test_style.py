"""Style: colours that stay, words in their order, what a page is handed, settings that are left alone."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ubench_utils.models import cards
from ubench_utils.report import style

MODELS = ["random", "demo-base", "demo-pathology"]
# Lighter than 3:1 on white, as much of Okabe and Ito's palette is; the text beside the dots says the same. No more.
LIGHT = {"#999999", "#B79F00", "#56B4E9", "#E69F00", "#44AA99"}


def test_a_figure_without_content_says_so_in_its_caption(monkeypatch):
    """And not what it would have shown."""
    shown = []
    monkeypatch.setattr(style, "display", lambda *_, metadata, **__: shown.append(metadata["ubench"]))
    style.show(style.nothing("There is nothing to show."), "Accuracy of each model.")
    assert shown == [{"caption": "There is nothing to show.", "alt": "There is nothing to show."}]


def test_show_hands_caption_and_alt_to_the_page(monkeypatch):
    sent = {}
    monkeypatch.setattr(style, "display", lambda data, **how: sent.update(data=data, **how))
    figure = style.nothing("x")
    del figure.instead
    style.show(figure, "A caption.")
    assert sent["raw"] and sent["data"]["image/svg+xml"] == style.svg(style.nothing("x"))
    assert sent["metadata"]["ubench"] == {"caption": "A caption.", "alt": "x"}


def test_a_listed_model_keeps_its_colour():
    listed = {name: card.colour for name, card in cards.model_cards().items()}
    assert all(listed.values())
    for models in (["demo-pathology"], MODELS, ["open_clip:ViT-B-32", *MODELS[::-1]], list(listed)):
        colours = style.colours(models)
        assert list(colours) == models
        assert all(colours[name] == listed[name] for name in models if name in listed)


def test_a_model_that_others_ran_is_grey():
    found = style.colours(["CLIP", "GPT-4o"])
    assert found == {**style.colours(["CLIP"]), "GPT-4o": style.UNLISTED}


def test_colours_are_distinct():
    listed = [card.colour.lower() for card in cards.model_cards().values()]
    every = [*listed, *(colour.lower() for colour in style.PALETTE)]
    assert len(set(every)) == len(every)
    for one, other in itertools.combinations(every, 2):
        assert np.abs(np.subtract(to_rgb(one), to_rgb(other))).max() > 0.06, (one, other)
    unlisted = [f"open_clip:arch-{i}" for i in range(len(style.PALETTE))]
    assert len(set(style.colours(unlisted).values())) == len(unlisted)


def test_a_row_of_mixtures_has_as_many_colours():
    mixtures = [f"mix:demo-base+demo-pathology@{place / 100:g}" for place in range(24)]
    assert len(set(style.colours(mixtures).values())) == 24


def contrast_to_white(colour):
    """Contrast ratio of WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_colours_stand_out_from_white():
    listed = {name: card.colour for name, card in cards.model_cards().items()}
    assert [contrast_to_white(grey) for grey in ("#000000", "#777777")] == pytest.approx([21, 4.48], abs=0.01)
    light = {colour for colour in [*listed.values(), *style.PALETTE, style.GREY] if contrast_to_white(colour) < 3}
    assert light <= LIGHT


def test_looks_are_given_known_or_the_next():
    found = style.looks(["mine", "in-domain", "#123456", "other"], {"mine": "#000000"})
    assert found["mine"] == ("#000000", "o", "-") and found["in-domain"][0] == style.BLUE
    assert found["#123456"][0] == "#123456" and found["other"][0] in style.CYCLE
    assert [look[1] for look in style.looks("abc", {"b": "#000000"}, marked=True).values()] == list("osD")


def test_words_of_the_field_have_their_order():
    assert style.ordered(["tissue", "stain", "all", "domain", "other"]) == ["all", "domain", "stain", "tissue", "other"]
    assert style.ordered(["a", "tissue", None, "b"], ["b"]) == ["b", "tissue", "a"]


def test_a_long_list_is_cut_with_its_number():
    assert style.told([str(i) for i in range(30)]).endswith("23; and 6 more.") and style.told(["a", "a"]) == "a."


def test_import_sets_nothing():
    code = "import matplotlib; before = dict(matplotlib.rcParams); import ubench_utils.report.figures as f; "
    code += "assert dict(matplotlib.rcParams) == before"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
