"""The page on one sub-dataset, of pictures as people have them: it runs, and says nothing that is not so."""

import html
import io
import re

import numpy as np
import pandas as pd
import pytest
from helpers.pages_in_process import executed, glued
from PIL import Image

from ubench_utils.collection.rows import build_rows

BASE = ["random", "demo-base"]


def broken(rows):
    return [{**row, "image": {"bytes": b"no picture", "path": None}} if at < 3 else row for at, row in enumerate(rows)]


def grouped(rows):
    """Four specimens, some pictures of none; half were read by percentiles."""
    ways = ["percentiles 1 to 99", None]
    return [
        {**row, "group": f"s{at % 4}" if at < 9 else None, "rendering": ways[at % 2]} for at, row in enumerate(rows)
    ]


def of_two_mice(rows):
    return [{**row, "group": f"mouse {at % 2}"} for at, row in enumerate(rows)]


def of_one_mouse(rows):
    return [{**row, "group": "mouse"} for row in rows]


def unlabelled(rows):
    return [{**row, "label_name": None} for row in rows]


def coarse(rows):
    for row in rows:
        row["captions"] = {name: one for name, one in row["captions"].items() if not name.startswith("class")}
        row["questions"].pop("classification")
    return rows


MIXES = {  # labels, what is done to the rows, models, and words of the answer or of a table
    "many classes": (
        [f"细胞 of a class with a long name, {at % 70}" for at in range(140)],
        None,
        BASE,
        "of 140 pictures",
    ),
    "guesses alone": (["ant", "bee"] * 6, None, ["random"], "No model but the random baseline answered the question"),
    "some unreadable": (["ant", "bee", "cat"] * 5, broken, [*BASE, "demo-second"], "3: p000.png, p001.png, p002.png"),
    "one class": (["ant", "bee"] * 6, lambda rows: rows[::2], BASE, "shows the same class, ant"),
    "groups": (["ant", "bee", "cat"] * 5, grouped, BASE[1:], "6 pictures are in none"),
    "two mice": (["ant", "bee", "cat"] * 5, of_two_mice, [*BASE, "demo-second"], "too few specimens for an interval"),
    "one mouse": (
        ["ant", "bee", "cat"] * 5,
        of_one_mouse,
        BASE,
        "Whether a model can be used, these",
    ),
    "no labels": (["ant", "bee", "cat"] * 5, unlabelled, BASE, "of 15 pictures"),
    "no classes": (["ant", "bee", "cat"] * 5, coarse, BASE, "No question on the class is asked of these pictures, so"),
    "one large class": (
        ["ant"] * 30 + ["bee"] * 3 + ["cat"],
        None,
        BASE,
        "always saying “ant”, the most frequent class, 88.2 %",
    ),
    "two pictures": (["ant", "bee"], None, BASE, "of 2 pictures"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("mixes")
    for at in range(140):
        image, buffer = np.random.default_rng(at).integers(0, 255, (24, 24, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        (place / f"p{at:03}.png").write_bytes(buffer.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(place / "cache"))
        yield place


def told(notebook):
    """Sentences, tables, captions and alt texts, each as it stands on the page."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [html.unescape(re.sub("<[^>]*>", " ", output.get("data", {}).get("text/html", ""))) for output in outputs]
    captions = [word for output in outputs for word in output.get("metadata", {}).get("ubench", {}).values()]
    return [" ".join(text.split()) for text in (*glued(notebook).values(), *tables, *captions) if text.strip()]


@pytest.mark.parametrize("name", MIXES)
def test_the_page_says_what_is_so(place, name):
    labels, change, models, words = MIXES[name]
    table = pd.DataFrame({"file": [f"p{at:03}.png" for at in range(len(labels))], "label": labels})
    rows, _ = build_rows(str(place), table, facts={"modality": "light"}, name="cells")
    pd.DataFrame(change(rows) if change else rows).to_parquet(place / f"{name}.parquet")
    texts = told(executed("subdataset", dataset=str(place / f"{name}.parquet"), models=models))
    assert any(words in text for text in texts)
    wrong = re.compile(
        r"\bnan\b|\bNone\b(?! of the)|\b1 (pictures|models|groups|classes|questions)\b|\bof 0 |– %|\(–|  "
    )
    assert not [text for text in texts if wrong.search(text)]
    assert not [text for text in texts if "can be used where" in text], "the pictures are noise"
    if name == "groups":
        assert any(
            "percentiles 1 to 99 (8 pictures)" in text or "percentiles 1 to 99 (7 pictures)" in text for text in texts
        )


def test_answers_made_elsewhere_have_a_page_and_a_part_of_them_is_none_to_call_the_best(place, tmp_path):
    table = pd.DataFrame({"file": [f"p{at:03}.png" for at in range(20)], "label": ["ant", "bee"] * 10})
    rows, _ = build_rows(str(place), table, facts={}, name="cells")
    pd.DataFrame(rows).to_parquet(tmp_path / "cells.parquet")
    asked = pd.DataFrame({"dataset": "cells", "image_id": table.file, "question": "classification"})
    asked.assign(answer=table.label).to_csv(tmp_path / "all.csv", index=False)
    asked.assign(answer=["I cannot say", *table.label[1:]])[:8].to_csv(tmp_path / "part.csv", index=False)
    found = {}
    for name in ("all", "part"):
        models = [f"predictions:{tmp_path}/{name}.csv"]
        page = executed("subdataset", dataset=str(tmp_path / "cells.parquet"), models=models)
        found[name] = glued(page)["answer"]
        assert not [text for text in told(page) if re.search(r"\bnan\b|\bNone\b|– %", text)]
    assert "can be used where 100.0 [83.9, 100.0] % right answers are enough" in found["all"]
    assert found["part"] == "No model answered all 20 questions on the class, so none is called the best."
