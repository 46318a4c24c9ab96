"""What a dataset hides: each kind is found where it was planted, and labels that were shuffled give no warning."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ubench_utils.collection.rows import SENTENCES, build_rows, write_rows
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.report.sentences import sentence, sentences, told
from ubench_utils.statistics import held_out
from ubench_utils.statistics.resampling import numbered
from ubench_utils.studies import shortcuts
from ubench_utils.studies.duplicates import look

LOOKS = {"size", "pixel_size", "file", "looks"}


def field(rng, side=(24, 24), light=0.5, border=None):
    """A noisy field of one blob; brightness varies from picture to picture as by exposure (standard deviation 10 %)."""
    y, x = np.mgrid[: side[0], : side[1]]
    at, width = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(2, 5)
    blob = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * width**2))
    image = light * rng.normal(1, 0.1) * (0.6 + 0.5 * blob) + rng.normal(0, 0.08, side)
    if border is not None:
        image[:2] = image[-2:] = border
        image[:, :2] = image[:, -2:] = border
    return np.repeat((255 * image.clip(0, 1))[..., None], 3, axis=2).astype(np.uint8)


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def dataset(tmp_path):
    """Return a function that makes a benchmark and its questions of files: name, content, label and further columns."""

    def make(table, name="cells", **facts):
        table = pd.DataFrame(table)
        for file, content in zip(table.file, table.content, strict=True):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(content)
        labels = table.drop(columns="content").reset_index(drop=True)
        rows, _ = build_rows(str(tmp_path / name), labels, facts=facts, name=name, sentences=SENTENCES)
        write_rows(rows, str(tmp_path / f"{name}.parquet"))
        benchmark = load_benchmark(str(tmp_path / f"{name}.parquet"))
        return benchmark, build_questions(benchmark)

    return make


def pictures(n=60, n_classes=2, seed=0, of=lambda rng, label: encoded(field(rng)), group=None):
    """Files of n pictures, classes in turn; ``group`` numbers a picture's specimen, else the column is absent."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = i % n_classes
        row = {"file": f"image {i:03}.png", "label": f"class {label}", "content": of(rng, label)}
        rows.append(row | ({} if group is None else {"group": f"mouse {group(i)}"}))
    return rows


def kinds(found):
    return set(found.kind)


def words_of(found):
    """The sentences; each names what it is about, and none has a hole."""
    spoken = told("shortcuts", found)
    for text in spoken:
        assert text.endswith(".") and not {"None", "nan", "()"} & set(text.replace(",", " ").split()), text
    return " ".join(spoken)


# ------------------------------------------------------------------------------------------- false and true alarms


def shuffled(images, rng, by_group):
    """Labels dealt anew: by group, or picture by picture."""
    if not by_group:
        return rng.permutation(images.label_name.to_numpy())
    groups = images.drop_duplicates("group").set_index("group").label_name
    return images.group.map(dict(zip(groups.index, rng.permutation(groups.to_numpy()), strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_classes", "n_groups"), [(40, 2, 0), (40, 2, 8), (60, 5, 15), (200, 2, 0), (200, 5, 20)]
)
def test_shuffled_labels_raise_no_alarm(dataset, n, n_classes, n_groups, monkeypatch):
    """Specimens differ in exposure, background, size and file; labels are dealt among them at random."""
    monkeypatch.setattr(held_out, "SHUFFLES", 99)  # the level is the same with fewer
    light = np.random.default_rng(1).normal(0.5, 0.1, max(n_groups, 1))
    count = iter(range(n))

    def of(rng, label):
        unit = next(count) % n_groups if n_groups else 0
        own = np.random.default_rng(unit) if n_groups else rng
        side = (24, 24 + 4 * int(own.random() < 0.3))
        kind = "JPEG" if own.random() < 0.3 else "PNG"
        return encoded(field(rng, side, light[unit], border=light[unit] / 2 + rng.normal(0, 0.02)), kind)

    group = (lambda i: i % n_groups) if n_groups else None
    table = pictures(n, n_classes, of=of, group=group)
    if n_groups:  # a class of its own for each specimen
        table = [row | {"label": f"class {i % n_groups % n_classes}"} for i, row in enumerate(table)]
    looked = numbered(look(dataset(table)[0], shortcuts._measured))
    rng, times = np.random.default_rng(0), 60
    alarms = []
    for _ in range(times):
        looked = looked.assign(label_name=shuffled(looked, rng, n_groups))
        rules = shortcuts._rules([("cells", looked)])
        alarms.append(len(shortcuts._telling(rules)) > 0)
    print(n, n_classes, n_groups, np.mean(alarms))
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / times) and len(rules) > 4


@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("n_groups", [0, 20])
@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("looks", lambda rng, label: encoded(field(rng, light=0.5 * (1 + 0.3 * label)))),
        ("looks", lambda rng, label: encoded(field(rng, border=0.1 + 0.1 * label))),
        ("size", lambda rng, label: encoded(field(rng, side=(24, 24 + 4 * label)))),
        ("size", lambda rng, label: encoded(field(rng, side=(24, rng.integers(24, 40) + 10 * label)))),
        ("file", lambda rng, label: encoded(field(rng), ["PNG", "JPEG"][label])),
    ],
)
def test_what_was_planted_is_found(dataset, kind, of, n, n_groups):
    group = (lambda i: i % 2 + 2 * (i // 2 % (n_groups // 2))) if n_groups else None  # of one class each
    found = shortcuts.warnings(*dataset(pictures(n, of=of, group=group)))
    assert LOOKS & kinds(found) == {kind}
    row = found[found.kind == kind].iloc[0]
    assert row.estimate > row.by_chance > row.reference == 0.5 and row.p <= 0.05 and row.n == n
    assert "names the class of" in words_of(found)


@pytest.mark.parametrize(("n", "n_classes"), [(100, 2), (200, 5)])
def test_a_difference_of_a_tenth_in_brightness_is_found(dataset, n, n_classes):
    """Of pictures whose own brightness varies by a tenth, one class is a tenth brighter."""
    of = lambda rng, label: encoded(field(rng, light=0.5 * (1 + 0.1 * (label == 0))))  # noqa: E731
    found = shortcuts.warnings(*dataset(pictures(n, n_classes, of=of)))
    assert kinds(found) == {"looks"} and "brightness" in words_of(found)


def test_a_clean_dataset_has_no_warning(dataset):
    found = shortcuts.warnings(*dataset(pictures(group=lambda i: i // 4)))
    assert found.empty and list(found.columns) == shortcuts.WARNINGS and told("shortcuts", found) == []
    assert sentence("shortcuts", "nothing").startswith("Nothing was found")


# --------------------------------------------------------------------------------------- copies, groups, questions


def test_copies_are_told_by_what_they_do(dataset):
    table = pictures(60, group=lambda i: i // 4)
    table[5]["content"] = table[4]["content"]  # another label, the same specimen
    table[30]["content"] = table[2]["content"]  # another specimen, the same label
    found = shortcuts.warnings(*dataset(table)).set_index("kind")
    assert found.n.to_dict() == {"torn": 1, "apart": 1, "copies": 4} and found.of["copies"] == 2
    assert {one["label"] for one in found.found["torn"]} == {"class 0", "class 1"}
    assert {one["group"] for one in found.found["apart"]} == {"mouse 0", "mouse 7"}
    text = words_of(found.reset_index())
    assert "image 004.png (class 0)" in text and "one of the two is wrong" in text and "mouse 7" in text


def test_a_near_copy_counts_where_it_is_drawn_apart(dataset):
    rng = np.random.default_rng(0)
    table = pictures(40, group=lambda i: i // 4)
    picture = Image.fromarray(np.asarray(Image.fromarray(field(rng)).resize((96, 96))))
    smaller = np.asarray(picture.resize((48, 48)))
    for at, other in ((4, 6), (4, 20)):  # of the same specimen, and of another
        table[4]["content"], table[other]["content"] = encoded(np.asarray(picture)), encoded(smaller, "JPEG")
        found = shortcuts.warnings(*dataset(table, name=f"cells {other}")).set_index("kind")
        assert ("near" in found.index) == (other == 20), at
        table[other] = pictures(40, seed=1, group=lambda i: i // 4)[other]
    assert found.n["near"] == 2 and {one["name"] for one in found.found["near"]} == {"image 004.png", "image 020.png"}
    assert "nearly like another" in words_of(found.loc[["near"]].reset_index())


def test_small_classes_and_few_specimens_are_named(dataset):
    table = pictures(60, group=lambda i: i // 12)
    found = shortcuts.warnings(*dataset(table[:50] + [row | {"label": "rare"} for row in table[50:53]]))
    few = found.set_index("kind").found
    assert few["few"] == [{"name": "rare", "n": 3}]
    assert few["few_groups"] == [{"name": "class 0", "n": 5}, {"name": "class 1", "n": 5}]
    assert "rare (3)" in words_of(found) and "class 0 (5)" in words_of(found)
    many = shortcuts.warnings(*dataset([row | {"label": f"{i}"} for i, row in enumerate(pictures(40))], name="many"))
    assert "(1) and 28 more." in words_of(many)


def test_pictures_of_one_specimen_are_told(dataset):
    found = shortcuts.warnings(*dataset(pictures(60, group=lambda i: 0)))
    assert kinds(found) == {"alone"} and "cells: all 60 pictures are of one group" in words_of(found)


def test_specimens_of_one_class_each_are_told(dataset):
    found = shortcuts.warnings(*dataset(pictures(60, group=lambda i: i % 2 + 2 * (i // 20)), name="a"))
    row = found.set_index("kind").loc["confounded"]
    assert (row.n, row.of) == (6, 60) and row.found == [{"name": "class 0", "n": 3}, {"name": "class 1", "n": 3}]
    assert "6 groups shows one class only" in words_of(found)
    alone = shortcuts.warnings(*dataset(pictures(60, group=lambda i: i), name="b"))
    assert "confounded" not in kinds(alone), "specimens of one picture each"


@pytest.mark.parametrize(
    ("form", "suggested"),
    [
        ("mouse{s}_{i:02}.tif", True),
        ("Slide 2023-{s} field{i}.png", True),
        ("P{s}-T1-{i}.jpg", True),
        ("image_{n:03}.png", False),
        ("IMG{n:04}.png", False),
        ("benign-{n}.png", False),
        ("2023-05-11_{n:04}.png", False),
        ("{n}.png", False),
        ("SOB_B_A-14-{n}.png", False),
        ("0a1b-{n}c3-4d.png", False),
    ],
)
def test_names_of_series_are_a_hint(form, suggested):
    names = [form.format(s=n // 6, i=n % 6, n=n) for n in range(60)]
    images = pd.DataFrame({"image_id": names, "label_name": [f"class {n % 2}" for n in range(60)]})
    found = shortcuts._series("cells", images)
    assert bool(found) == suggested
    if found:
        assert (found[0]["n"], found[0]["of"]) == (10, 60)


def test_groups_that_are_stated_need_no_hint(dataset):
    table = [row | {"file": f"mouse{i // 6}_{i % 6}.png"} for i, row in enumerate(pictures(60))]
    assert "series" in kinds(shortcuts.warnings(*dataset(table, name="a")))
    stated = [row | {"group": f"mouse {i // 6}"} for i, row in enumerate(table)]
    assert "series" not in kinds(shortcuts.warnings(*dataset(stated, name="b")))


def test_questions_with_one_answer_are_told_and_are_no_leak(dataset):
    found = shortcuts.warnings(*dataset(pictures(60), stain="H&E", modality="light"))
    assert kinds(found) == {"constant"}
    assert {one["name"]: one["label"] for one in found.found[0]} == {"stain": "H&E", "modality": "light microscopy"}
    assert "(always H&E)" in words_of(found) and "their scores are of" in words_of(found)


def test_options_that_give_the_answer_away_are_told(dataset):
    benchmark, questions = dataset(pictures(60, n_classes=5))
    assert "leak" not in kinds(shortcuts.warnings(benchmark, questions))
    first = [
        (labels[at], *(x for x in labels if x != labels[at]))
        for labels, at in zip(questions.labels, questions.answer_idx, strict=True)
    ]
    given = questions.assign(labels=first, answer_idx=0)
    found = shortcuts.warnings(benchmark, given).set_index("kind")
    assert found.rule["leak"] == "first option" and found.estimate["leak"] == 1
    assert "first option is right in 100.0 % of 60 fine questions" in words_of(found.reset_index())


@pytest.mark.parametrize("n", [2, 7, 30])
def test_small_and_odd_datasets_are_looked_at_without_a_fault(dataset, n):
    benchmark, questions = dataset(pictures(n))
    images = benchmark.images
    odd = [
        images.assign(label_name=None),
        images.assign(label_name="one"),
        images.assign(group="one"),
        images.assign(group=[None, *["{{ 7 * 7 }}"] * (n - 1)]),
        images.assign(label_name=[f"class {i}" for i in range(n)]),
        images.assign(image_hash=[f"{i:032}" for i in range(n)]),  # none can be opened under its name
    ]
    for other in odd:
        words_of(shortcuts.warnings(replace(benchmark, images=other), questions))


def test_every_kind_has_a_sentence():
    source = Path(shortcuts.__file__).read_text("utf-8")
    rows = dict.fromkeys(shortcuts.WARNINGS, 1) | {
        "found": [{"name": "a", "label": "b", "group": "c", "n": 1, "estimate": 1}] * 2
    }
    headings = sentences(
        "shortcuts", **(rows | {"rule": "colour"} | {"found": [r | {"name": "border"} for r in rows["found"]]})
    )
    assert all(f'"{kind}"' in source for kind in headings.keys() - {"nothing"})
