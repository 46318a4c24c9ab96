"""Tables as the pages show them."""

import pandas as pd
import pytest

from ubench_utils.report import tables, text

TABLE = pd.DataFrame({"model": ["a", "b"], "x<y": ["1.0", "–"]})


@pytest.fixture
def shown(monkeypatch):
    displayed = []
    monkeypatch.setattr(tables, "display", displayed.append)

    def show(*arguments, **options):
        tables.show(*arguments, **options)
        return displayed.pop().data

    return show


def test_a_table_is_plain_unless_it_is_to_be_sorted(shown):
    page = shown(TABLE, "Scores & more")
    assert "<caption>Scores &amp; more</caption>" in page and "x&lt;y" in page
    assert "sortable" not in page and "data-filter" not in page


def test_a_sortable_table_names_the_columns_of_its_filters(shown):
    page = shown(TABLE, "Scores", sortable=["model", "x<y"])
    assert 'class="dataframe numbers sortable"' in page and page.startswith('<div data-filter="model,x&lt;y">')
    assert 'data-filter=""' in shown(TABLE, "Scores", sortable=[])
    with pytest.raises(KeyError, match="colour"):
        shown(TABLE, "Scores", sortable=["colour"])


NUMBERS = pd.DataFrame(
    {
        "model": ["a", "a", "b"],
        "question": ["stain", "all", "stain"],
        "level": "coarse",
        "share": [0.5, float("nan"), -0.25],
        "low": [0.4, 0.1, -0.3],
        "high": [0.6, 0.2, 0.1],
        "n": [1200, 3, 4],
    }
)


def test_columns_are_printed_by_what_they_hold():
    columns = {"who": "model", "%": "share", "[95 %]": ("share", "low", "high"), "n": "n"}
    columns |= {"points": (text.points, "share"), "which": (text.called, "question", "level")}
    found = tables.text(NUMBERS, columns)
    assert found.iloc[0].tolist() == ["a", "50.0", "50.0 [40.0, 60.0]", "1,200", "+50.0", "stain"]
    assert found.iloc[1, 1:].tolist() == ["–", "–", "3", "–", "all coarse"] and found["%"][2] == "−25.0"
    assert list(tables.text(NUMBERS.head(0), columns)) == list(columns)


def test_a_wide_table_keeps_the_order_and_marks_what_is_absent():
    found = tables.wide(NUMBERS, {"model": "model"}, "question", (text.count, "n"))
    assert list(found) == ["model", "stain", "all"] and found.to_numpy().tolist() == [
        ["a", "1,200", "3"],
        ["b", "4", "–"],
    ]


def test_numbers_as_words():
    assert [text.span(*ends) for ends in ((1, 1), (0.5, 2), (None, None))] == ["1", "0.5–2", "–"]
    assert text.stated(float("nan"), float("nan")) == "not stated" and text.whole(1200, 1300) == "1,200–1,300"
    assert text.bracket(-0.0001, 0.1) == "[0.0, +10.0]" and text.bracket(float("nan"), float("nan")) == ""
    assert [text.p(value) for value in (1e-5, 0.0123, 1)] == ["< 0.0001", "0.012", "1"]
    assert [text.amount(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
    assert text.listed(["a"]) == "a" and text.listed("abc") == "a, b and c"
    assert text.coefficient(-0.001) == "0.00" and text.signed(0.5, 0.1, 0.9) == "+0.50 [+0.10, +0.90]"
