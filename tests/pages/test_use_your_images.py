"""The page on one's own images: what it tells a reader to type runs, and what it says of small numbers is so."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from ubench_utils.pages.runner import ROOT
from ubench_utils.statistics.intervals import wilson

PAGE = (ROOT / "book" / "use_your_images.md").read_text(encoding="utf-8")


@pytest.fixture
def folders(tmp_path):
    """The three folders of the page, ten pictures a class."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    for name in ("cells/basophil", "cells/monocyte", "scans", "export"):
        (tmp_path / name).mkdir(parents=True)
    rows, images, objects = ["file_name;label;stain;mouse"], [], []
    for at, picture in enumerate(pictures):
        label = ("basophil", "monocyte")[at % 2]
        tifffile.imwrite(tmp_path / "cells" / label / f"{at}.tif", picture)
        tifffile.imwrite(tmp_path / "scans" / f"{at}.tif", picture[..., 0].astype(np.uint16) * 16)
        rows.append(f"{at}.tif;{label};DAPI;M{at // 2}")
        Image.fromarray(picture).save(tmp_path / "export" / f"{at}.jpg")
        images.append({"id": at, "file_name": f"{at}.jpg"})
        objects.append({"id": at, "image_id": at, "category_id": at % 2})
    (tmp_path / "labels.csv").write_text("\r\n".join(rows) + "\r\n", encoding="utf-8-sig")
    kinds = [{"id": 0, "name": "basophil"}, {"id": 1, "name": "monocyte"}]
    coco = {"images": images, "categories": kinds, "annotations": objects}
    (tmp_path / "export" / "_annotations.coco.json").write_text(json.dumps(coco))
    return tmp_path


@pytest.mark.slow
def test_the_three_ways_in_run_as_they_stand(folders, cache):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3 and all(len(block.splitlines()) == 5 for block in blocks)
    command = f'set -e; ubench() {{ {sys.executable} -m ubench_utils "$@"; }}\n' + "".join(blocks)
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=folders, env=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "12 bits" in done.stdout and "cells.html" in done.stdout
    for report in ("report", "report-scans", "report-export"):
        assert "Which model can be used" in (folders / report / "index.html").read_text(encoding="utf-8")


def test_five_of_ten_may_be_what_the_page_says():
    low, high = wilson(np.array([5.0]), np.array([10.0]))
    said = re.search(r"Five right of ten may be anything from (\d+) to (\d+) %", PAGE)
    assert said and [round(100 * float(low[0])), round(100 * float(high[0]))] == [int(said[1]), int(said[2])]


def test_the_page_names_only_options_that_there_are(capsys):
    from ubench_utils.cli import main

    with pytest.raises(SystemExit):
        main(["import", "--help"])
    there = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) | {"--dataset", "--models", "--out"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= there
