"""Tables as the pages show them."""

import pandas as pd
import pytest

from ubench_utils.report import tables

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
    text = shown(TABLE, "Scores & more")
    assert "<caption>Scores &amp; more</caption>" in text and "x&lt;y" in text
    assert "sortable" not in text and "data-filter" not in text


def test_a_sortable_table_names_the_columns_of_its_filters(shown):
    text = shown(TABLE, "Scores", sortable=["model", "x<y"])
    assert 'class="dataframe numbers sortable"' in text and text.startswith('<div data-filter="model,x&lt;y">')
    assert 'data-filter=""' in shown(TABLE, "Scores", sortable=[])
    with pytest.raises(KeyError, match="colour"):
        shown(TABLE, "Scores", sortable=["colour"])
