"""Classes of a COCO file: one class a picture, what is left out counted, what cannot be meant refused."""

import json

import numpy as np
import pytest
from helpers.samples import png

from ubench_utils.collection.labels import read_labels
from ubench_utils.errors import UserError


def coco(classes):
    """A file of pictures 0.png, 1.png, ... with objects of these classes."""
    names = sorted({name for kinds in classes for name in kinds})
    objects = [(image, names.index(name)) for image, kinds in enumerate(classes) for name in kinds]
    return {
        "images": [{"id": 10 + at, "file_name": f"{at}.png", "width": 2, "height": 1} for at in range(len(classes))],
        "categories": [{"id": number, "name": name, "supercategory": "cells"} for number, name in enumerate(names)],
        "annotations": [
            {"id": at, "image_id": 10 + image, "category_id": kind, "bbox": [0, 0, 1, 1]}
            for at, (image, kind) in enumerate(objects)
        ],
    }


@pytest.fixture
def folder(tmp_path):
    for at in range(5):
        (tmp_path / f"{at}.png").write_bytes(png(np.array([[[at, 0, 0]]], np.uint8))["bytes"])
    return tmp_path


def test_a_picture_is_of_the_class_of_its_objects(folder):
    file = folder / "_annotations.coco.json"  # found by itself
    file.write_text(json.dumps(coco([["red"], ["red", "red"], ["blue"], ["blue", "red"], []])))
    labels, notes = read_labels(str(folder))
    assert labels.to_dict("list") == {"file": ["0.png", "1.png", "2.png"], "label": ["red", "red", "blue"]}
    assert notes == [
        f"the label of a picture is the class of its objects in {file}",
        "1 of 5 pictures hold objects of several classes and are left out, such as 3.png (blue, red)",
        "1 of 5 pictures hold no object and are left out",
        "2 of 5 pictures have no row in _annotations.coco.json and are left out",
    ]


def test_what_is_no_coco_file_is_refused(folder):
    right = coco([["red"], ["blue"]])

    def refused(words, content):
        (folder / "x.json").write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(UserError, match=words):
            read_labels(str(folder), str(folder / "x.json"))

    refused("is no JSON", "{")
    refused("is no COCO file: it has no list of images; rows of labels are .csv or .jsonl", [{"file_name": "0.png"}])
    refused("it has no list of annotations", right | {"annotations": None})
    refused(r"annotations\[0\]: write an object with image_id and category_id", right | {"annotations": [{"id": 1}]})
    refused(r"images\[1\]: the id 10 is that of an earlier one", right | {"images": [right["images"][0]] * 2})
    lost = right["annotations"] + [{"image_id": 99, "category_id": 0}]
    refused(r"annotations\[2\]: image_id 99 is not listed", right | {"annotations": lost})
    refused(r"annotations\[1\]: category_id 0 is not listed", right | {"categories": right["categories"][1:]})
    refused("of 2 pictures none holds objects of exactly one class", right | {"annotations": []})
    elsewhere = [image | {"file_name": f"images/{image['file_name']}"} for image in right["images"]]
    refused(
        "row 1: 'images/0.png' is no picture in .*; paths are relative to that folder", right | {"images": elsewhere}
    )
