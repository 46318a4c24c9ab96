"""Numbers of the paper, to set beside measured ones: always labelled as published, never mixed with them."""

from pathlib import Path

import pandas as pd

from .questions import COARSE, HEADLINE_WORDING

FOLDER = Path(__file__).with_name("published")


def read(name: str) -> pd.DataFrame:
    """One of the tables in ``ubench_utils/published``, by its name without ``.csv``; accuracies in percent."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def forgetting() -> pd.DataFrame:
    """Published accuracy of each fine-tuned model minus that of the base it was fine-tuned from.

    Returns
    -------
    pandas.DataFrame
        ``base, tuned, kind, name, base_accuracy, tuned_accuracy, difference`` in percent and points: ``kind`` is
        ``coarse`` (all images), ``coarse, pathology`` (light microscopy of pathology), ``fine, pathology`` or
        ``fine, elsewhere``; ``name`` is the question type, or the sub-dataset in the headline wording.
    """
    coarse = read("coarse_by_question").rename(columns={"question": "name"})
    coarse["kind"] = coarse.slice.map({"all": "coarse", "pathology_light_microscopy": "coarse, pathology"})
    fine = read("fine_by_dataset").query(f"caption_template == {HEADLINE_WORDING}").rename(columns={"dataset": "name"})
    pathology = read("datasets").set_index("dataset").in_pathology_slice.reindex(fine.name).to_numpy(dtype=bool)
    fine["kind"] = pd.Series(pathology, fine.index).map({True: "fine, pathology", False: "fine, elsewhere"})
    columns = ["model", "kind", "name", "accuracy"]
    accuracy = pd.concat([coarse[columns], fine[columns]]).set_index(["model", "kind", "name"]).accuracy
    tables = []
    for tuned, base in read("models").dropna(subset="base").set_index("model").base.items():
        both = pd.DataFrame({"base_accuracy": accuracy[base], "tuned_accuracy": accuracy[tuned]}).dropna()
        tables.append(both.reset_index().assign(base=base, tuned=tuned))
    table = pd.concat(tables, ignore_index=True)
    table["difference"] = table.tuned_accuracy - table.base_accuracy
    order = {name: place for place, name in enumerate(COARSE)}
    table = table.sort_values(["tuned", "kind", "name"], key=lambda c: c.map(order) if c.name == "name" else c)
    columns = ["base", "tuned", "kind", "name", "base_accuracy", "tuned_accuracy", "difference"]
    return table[columns].reset_index(drop=True)
