"""Pairs of base and fine-tuned model: hand-made answer tables, and what changed in the weights, layer by layer."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.pairs import BASE, RIGHT, TUNED, answers_of, mixtures

from ubench_utils.errors import UserError
from ubench_utils.models import registry
from ubench_utils.models.load import load_model
from ubench_utils.studies import forgetting, published

OTHER = "demo-fluorescence"


@pytest.fixture(scope="module")
def answers():
    return answers_of(RIGHT)


def test_is_in_domain_follows_models_yml():
    rows = pd.DataFrame(
        {"domain": ["pathology", "biology"] * 2, "modality": ["fluorescence microscopy"] * 2 + ["x"] * 2}
    )
    rows.index = [7, 3, 5, 1]
    for name, facet in (("demo-pathology", "domain"), ("QuiltNet", "domain"), ("demo-fluorescence", "modality")):
        ((key, value),) = registry.find_model(name).in_domain.items()
        assert key == facet
        pd.testing.assert_series_equal(forgetting.is_in_domain(rows, name), rows[key] == value, check_names=False)
    assert forgetting.is_in_domain(rows, "demo-pathology").tolist() == [True, False, True, False]
    assert forgetting.is_in_domain(rows, "demo-base").all()  # nothing is said of it
    assert forgetting.is_in_domain(rows, f"mix:{BASE}+{TUNED}@1").tolist() == [True, False, True, False]


def test_gain_and_loss(answers):
    inside, coarse, outside = forgetting.gain_and_loss(answers, BASE, TUNED)
    assert inside["estimate"] == pytest.approx((6 + 8 - 2 - 4) / 16)  # fine-grained only
    assert outside["estimate"] == pytest.approx((2 + 4 + 3 - 6 - 8 - 4) / 24)  # all three questions of yeast
    assert (inside["n_questions"], inside["n_images"]) == (16, 16)
    assert (outside["n_questions"], outside["n_images"]) == (24, 8)
    assert inside["ci_low"] > 0 > outside["ci_high"]
    assert coarse["estimate"] == pytest.approx(2 / 32) and coarse["n_questions"] == 32  # stain, two gained
    for part in (inside, outside):
        assert part["ci_low"] < part["estimate"] < part["ci_high"]


def test_gain_and_loss_of_the_other_way_round_and_of_unlisted_models(answers):
    inside, _, outside = forgetting.gain_and_loss(answers, TUNED, BASE)  # the base has no domain: all is inside
    assert inside["estimate"] == pytest.approx((12 - 16) / 24)
    assert outside["n_questions"] == 0 and np.isnan(outside["estimate"])


def test_the_headline_cells_are_named_ordered_and_counted(answers):
    cells = forgetting.cells(answers, BASE, TUNED)
    table = forgetting.headline_cells(cells)
    expected = {
        "modality, in-domain": (16, 0, 0),
        "stain, in-domain": (16, 0, 2),
        "classification, in-domain": (16, 0, 8),
        "modality, out-of-domain": (8, 4, 0),
        "stain, out-of-domain": (8, 1, 0),
        "classification, out-of-domain": (8, 4, 0),
        "tissue_a": (8, 0, 4),
        "tissue_b": (8, 0, 4),
        "yeast": (8, 4, 0),
    }
    found = {
        row.name: (row.n_questions, row.forgotten, row.learned)
        for row in table[["name", "n_questions", "forgotten", "learned"]].itertuples(index=False, name="Row")
    }
    assert found == expected and len(table) == 9
    assert np.allclose(table.estimate, (table.learned - table.forgotten) / table.n_questions)
    assert table.small.all()  # eight or sixteen images show nothing for sure, and are kept all the same
    assert set(cells.by) == {"all", *forgetting.CELLS_BY} and (cells.p_adjusted >= cells.p).all()
    names = table.name.tolist()
    place = [0 if ", in" in name else 1 if ", out" in name else 2 for name in names]
    assert place == sorted(place)  # in-domain, out-of-domain, then the sub-datasets
    assert [name.split(",")[0] for name in names[:3]] == [name.split(",")[0] for name in names[3:6]]
    assert (table.ci_low <= table.estimate).all() and (table.estimate <= table.ci_high).all()


def test_fates_are_shares_of_the_questions():
    answers = mixtures()
    ends = {registry.mix_name(BASE, TUNED, 0): BASE, registry.mix_name(BASE, TUNED, 1): TUNED}
    answers = answers[answers.model.isin(ends)]
    table = forgetting.cells(answers.assign(model=answers.model.map(ends)), BASE, TUNED)
    fates = forgetting.fates(table.assign(reference=BASE, model=TUNED))
    assert fates.groupby("asked").estimate.sum().tolist() == pytest.approx([1] * fates.asked.nunique())
    assert set(fates.state) == {"kept", "forgotten", "learned", "never"} and forgetting.fates(table.iloc[:0]).empty


def test_our_changes_stand_beside_the_published_ones():
    theirs = published.forgetting()
    alone = forgetting.beside_published(pd.DataFrame(), theirs)
    assert set(alone["where"]) == {"published"} and alone.estimate.abs().max() < 1
    own = pd.DataFrame({"by": "all", "question": ["stain", "all"], "estimate": 0.1, "ci_low": 0, "ci_high": 0.2})
    both = forgetting.beside_published(own.assign(reference=BASE, model=TUNED), theirs)
    assert both[both["where"] == "here"].question.tolist() == ["stain"] and len(both) == len(alone) + 1


def test_layers_of_a_model_that_replies_in_words(cache):
    base, tuned = "demo-speaker", "demo-speaker-pathology"
    table = forgetting.layer_changes(base, tuned)
    assert table.groupby("tower").layer.apply(list).to_dict() == {"image": [0, 1, 2, 3], "text": [0, 1, 2]}
    start, end = (dict(load_model(name).network.named_parameters()) for name in (base, tuned))
    assert table.n_parameters.sum() == load_model(base).parameters  # tied weights count once
    moved = sum(float((end[key] - value).double().square().sum().detach()) for key, value in start.items())
    assert table.change_norm.pow(2).sum() == pytest.approx(moved, rel=1e-5) and moved > 0


def test_layer_changes_and_angles(cache):
    table = forgetting.layer_changes(BASE, TUNED)
    assert list(table) == ["tower", "layer", "change_norm", "base_norm", "relative_change", "n_parameters"]
    assert table[["tower", "layer"]].apply(tuple, axis=1).tolist() == [
        ("both", 0),
        ("image", 0),
        ("image", 1),
        ("image", 2),
        ("image", 3),
        ("text", 0),
        ("text", 1),
    ]
    assert table.n_parameters.sum() == load_model(BASE).parameters
    base, tuned, other = (load_model(name).network.state_dict() for name in (BASE, TUNED, OTHER))
    keys = [
        key
        for key in base
        if key.startswith("visual.layer3.") and base[key].is_floating_point() and "running" not in key
    ]
    start, one, two = (
        np.concatenate([state[key].ravel().numpy().astype(float) for key in keys]) for state in (base, tuned, other)
    )
    row = table[(table.tower == "image") & (table.layer == 2)].iloc[0]
    assert row.n_parameters == len(start) and row.base_norm == pytest.approx(np.linalg.norm(start), rel=1e-6)
    assert row.change_norm == pytest.approx(np.linalg.norm(one - start), rel=1e-6)
    assert row.relative_change == pytest.approx(row.change_norm / row.base_norm)

    angles = forgetting.task_angles(BASE, [TUNED, OTHER])
    assert list(angles) == ["first", "second", "tower", "layer", "cosine", "n_parameters"]
    cosine = (one - start) @ (two - start) / np.linalg.norm(one - start) / np.linalg.norm(two - start)
    found = angles[(angles.tower == "image") & (angles.layer == 2)].cosine.item()
    assert found == pytest.approx(cosine, rel=1e-5) and angles.cosine.abs().max() <= 1 + 1e-9
    assert angles[angles.layer.isna()].tower.tolist() == ["both", "image", "text", "all"]
    assert angles[angles.tower == "all"].n_parameters.item() == table.n_parameters.sum()
    assert forgetting.task_angles(BASE, [TUNED, TUNED]).cosine.to_numpy() == pytest.approx(1)
    assert forgetting.task_angles(BASE, [TUNED, BASE]).cosine.isna().all()  # the base did not change
    assert len(forgetting.task_angles(BASE, [TUNED, OTHER, TUNED])) == 3 * len(angles)
    with pytest.raises(UserError, match="do not share a base"):
        forgetting.layer_changes("CLIP", TUNED)

    program = f"""
import sys
from ubench_utils.studies import forgetting
forgetting.layer_changes({BASE!r}, {TUNED!r}), forgetting.task_angles({BASE!r}, [{TUNED!r}, {OTHER!r}])
assert not {{"torch", "open_clip"}} & set(sys.modules), "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(forgetting.task_angles(BASE, [TUNED, OTHER]), angles)


def test_angles_are_those_of_bases_with_two_specialists(cache):
    both = forgetting.angles_of_pairs([(BASE, TUNED), (BASE, "demo-fluorescence")])
    alone = forgetting.task_angles(BASE, [TUNED, "demo-fluorescence"])
    pd.testing.assert_frame_equal(both, alone)
    assert forgetting.angles_of_pairs([(BASE, TUNED)]).empty
