"""Classes of the pictures of a COCO file: a picture whose objects are all of one class is of that class."""

import json

import pandas as pd

from ..errors import UserError, first_line
from ..files import read_text

PARTS = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id", "category_id")}


def read_classes(path: str) -> tuple[pd.DataFrame, list[str]]:
    """Pictures of a COCO file, each with the one class of its objects.

    Returns
    -------
    rows : pandas.DataFrame of str
        ``file_name`` and ``label``, in the order of the file's images.
    notes : list of str
        How many pictures hold objects of several classes, or none, and are left out.

    Raises
    ------
    UserError
        If it is no COCO file, or an entry names an image or a category that the file does not list.

    References
    ----------
    Lin et al. 2014, Microsoft COCO, and the format of its annotations at cocodataset.org.
    """
    parts = _parts(path)
    files = _names(path, parts["images"], "images", "file_name")
    classes = _names(path, parts["categories"], "categories", "name")
    found: dict = {image: set() for image in files}
    for number, entry in enumerate(parts["annotations"]):
        for key, known in (("image_id", files), ("category_id", classes)):
            if entry[key] not in known:
                raise UserError(f"'{path}', annotations[{number}]: {key} {entry[key]!r} is not listed in the file")
        found[entry["image_id"]].add(classes[entry["category_id"]])
    rows = [(files[image], *kinds) for image, kinds in found.items() if len(kinds) == 1]
    several = [image for image, kinds in found.items() if len(kinds) > 1]
    n_empty = sum(not kinds for kinds in found.values())
    notes = [f"the label of a picture is the class of its objects in {path}"]
    if several:
        kinds = ", ".join(sorted(found[several[0]]))
        notes.append(
            f"{len(several):,} of {len(files):,} pictures hold objects of several classes and are left out, such as "
            f"{files[several[0]]} ({kinds})"
        )
    if n_empty:
        notes.append(f"{n_empty:,} of {len(files):,} pictures hold no object and are left out")
    if not rows:
        raise UserError(f"'{path}': of {len(files):,} pictures none holds objects of exactly one class")
    return pd.DataFrame(rows, columns=["file_name", "label"]), notes


def _parts(path: str) -> dict[str, list[dict]]:
    """The three lists of a COCO file, whose entries have the keys that are read."""
    try:
        content = json.loads(read_text(path, "the COCO file"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no JSON ({first_line(error, 80)})") from error
    for part, keys in PARTS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"'{path}' is no COCO file: it has no list of {part}; rows of labels are .csv or .jsonl")
        for number, entry in enumerate(entries):
            plain = isinstance(entry, dict) and all(isinstance(entry.get(key), str | int) for key in keys)
            if not plain:
                wanted = f"an object with {' and '.join(keys)}, each a text or a whole number"
                raise UserError(f"'{path}', {part}[{number}]: write {wanted}")
    return content


def _names(path: str, entries: list[dict], part: str, key: str) -> dict:
    """Names of the entries of a list by their ids, each id listed once."""
    names: dict = {}
    for number, entry in enumerate(entries):
        if entry["id"] in names:
            raise UserError(f"'{path}', {part}[{number}]: the id {entry['id']!r} is that of an earlier one")
        names[entry["id"]] = str(entry[key])
    return names
