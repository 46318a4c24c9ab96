"""Published numbers: the tables that ship are those that were recovered, and add up as the paper says."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from ubench_utils.studies import published

SHARED = Path(__file__).parents[3] / "shared" / "published"
PINNED = {
    "table1": "0229e3b6625aed61",
    "coarse_by_question": "2e41abaee8499a0d",
    "fine_by_dataset": "9c8ac743e7737a37",
    "interpolation_figure": "7c4ae0473afdcc1b",
    "datasets": "225694fcfdd32510",
    "models": "bcd1d995cc1911b3",
}


def test_the_tables_are_pinned():
    """A changed figure is a new citation: change the sum together with the provenance."""
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in published.FOLDER.glob("*.csv")}
    assert found == PINNED
    readme = (published.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.csv`" in readme for name in PINNED) and "arXiv 2407.01791" in readme


@pytest.mark.skipif(not SHARED.exists(), reason="needs the project's shared data")
def test_the_tables_are_those_that_were_recovered():
    for name in PINNED:
        pd.testing.assert_frame_equal(published.read(name), pd.read_csv(SHARED / f"{name}.csv"))


def test_published_forgetting_is_fine_tuned_minus_base():
    table = published.forgetting()
    assert set(zip(table.base, table.tuned, strict=True)) == {("CLIP", "PLIP"), ("CLIP", "QuiltNet")}
    assert (table.difference == table.tuned_accuracy - table.base_accuracy).all()
    assert table.groupby(["tuned", "kind"]).size().to_dict() == {
        (tuned, kind): n
        for tuned in ("PLIP", "QuiltNet")
        for kind, n in (("coarse", 5), ("coarse, pathology", 5), ("fine, pathology", 7), ("fine, elsewhere", 16))
    }
    key = table.set_index(["tuned", "kind", "name"]).difference
    assert key["PLIP", "coarse", "submodality"] == 14 - 38  # the paper's largest drop on coarse questions of PLIP
    coarse = published.read("coarse_by_question").query("slice == 'all' and question == 'modality'")
    values = coarse.set_index("model").accuracy
    assert key["QuiltNet", "coarse", "modality"] == values["QuiltNet"] - values["CLIP"]


def test_pooled_fine_accuracies_reproduce_table_1():
    """Weighted by their images, the sub-datasets give Table 1's fine totals within half a point: they are pooled."""
    sizes = published.read("datasets").set_index("dataset").query("in_table1").n_images
    fine = published.read("fine_by_dataset").query("caption_template == 1")
    total = published.read("table1").query("level == 'fine'").set_index("model").accuracy
    pooled = fine.groupby("model").apply(
        lambda rows: (rows.accuracy * sizes.reindex(rows.dataset).to_numpy()).sum() / sizes.sum(), include_groups=False
    )
    models = ["BiomedCLIP", "CONCH", "ALIGN", "CLIP", "OpenCLIP", "PLIP", "QuiltNet"]
    assert len(sizes) == 23 and sizes.sum() == pytest.approx(16130, abs=20)
    assert ((pooled - total)[models].abs() < 0.5).all(), (pooled - total)[models]
