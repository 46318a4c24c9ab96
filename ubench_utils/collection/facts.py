"""What is known of each picture of a collection, in the words of a vocabulary."""

from pathlib import Path

import pandas as pd

from ..data.benchmark import COARSE
from ..errors import UserError
from ..files import read_yaml
from .labels import FACTS, GROUP

SCALES = ("subcellular", "cellular", "tissue")
UNIT = "microns_per_pixel"
CLASS = "classification"
SHORT = " microscopy"  # which may be left unsaid: light, phase contrast


def read_vocabulary(path: str | None = None) -> dict[str, list[str]]:
    """Values from which the options of a question are drawn, by question type.

    Parameters
    ----------
    path : str, optional
        A YAML file of ``QUESTION TYPE: [value, …]``. Types that it leaves out keep the values of ``vocabulary.yml``.
        ``classification`` names further classes that are offered as wrong ones.

    Raises
    ------
    UserError
        If it is no such file, or values of a type are alike.
    """
    own = Path(__file__).with_name("vocabulary.yml")
    values = read_yaml(own, "the vocabulary")
    values[CLASS] = []
    if path is None:
        return values
    found = read_yaml(Path(path).expanduser(), "the vocabulary")
    if not isinstance(found, dict) or not found:
        raise UserError(f"the vocabulary '{path}': write QUESTION TYPE: [value, value, …]")
    for kind, listed in found.items():
        if kind not in values:
            raise UserError(f"the vocabulary '{path}': no question type '{kind}'; the types are {', '.join(values)}")
        if not isinstance(listed, list) or not all(isinstance(value, str) and value.strip() for value in listed):
            raise UserError(f"the vocabulary '{path}', {kind}: write a list of texts")
        values[kind] = [" ".join(value.split()) for value in listed]
        check_alike(f"the vocabulary '{path}', {kind}:", values[kind])
    return values


def stated_facts(labels: pd.DataFrame, facts: dict[str, str], vocabulary: dict[str, list[str]]) -> pd.DataFrame:
    """What is known of each picture: of the table, or of all pictures.

    Parameters
    ----------
    labels : pandas.DataFrame
        From ``read_labels``.
    facts : dict of str to str
        What is true of all pictures: any of ``labels.FACTS``.
    vocabulary : dict
        From ``read_vocabulary``. A value of it is meant however it is written.

    Returns
    -------
    pandas.DataFrame
        Columns ``FACTS`` and ``group``, with the rows of ``labels``; None where nothing is stated, and
        ``microns_per_pixel`` a float, in micrometres.

    Raises
    ------
    UserError
        If a fact is said in both places, two values are alike, or one cannot be meant; names it.
    """
    both = [name for name in facts if name in labels]
    if both:
        option = both[0].replace("_", "-")
        raise UserError(f"{both[0]} is a column of the table and an option (--{option}) too; say it in one place")
    table = labels.assign(**facts).reindex(columns=[*FACTS, GROUP]).astype(object)
    table = table.map(lambda value: value.strip() or None if isinstance(value, str) else None).astype(object)
    known = {kind: vocabulary[kind] for kind in COARSE} | {"scale": SCALES}
    for kind, values in known.items():
        of = {short(value): value for value in values}
        table[kind] = [of.get(short(said), said) if said else None for said in table[kind]]
    for name in (*known, "organism", GROUP):
        check_alike(f"the values of {name},", table[name].dropna().unique())
    for kind in ("modality", "scale"):
        other = table[kind][table[kind].notna() & ~table[kind].isin(known[kind])]
        if len(other):
            raise UserError(
                f"{kind} '{other.iloc[0]}' of '{labels.file[other.index[0]]}': it is one of {', '.join(known[kind])}; "
                "leave it out if it is none"
            )
    numbers = table[UNIT].map(lambda said: said.replace(",", ".") if isinstance(said, str) else None)
    sizes = pd.to_numeric(numbers, errors="coerce")
    wrong = table[UNIT].notna() & ~(sizes > 0)
    if wrong.any():
        file, value = labels.file[wrong.idxmax()], table[UNIT][wrong.idxmax()]
        raise UserError(f"'{file}': the pixel size '{value}' is no positive number of micrometres")
    return table.assign(**{UNIT: sizes.astype(float)})


def short(said: str) -> str:
    """A value as it may be said in short: ``light``."""
    return said.casefold().removesuffix(SHORT)


def check_alike(what: str, names) -> None:
    """Refuse names that differ in case, blanks or underscores alone, as both would be options of one question."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(spoken(name).casefold(), name)
        if other != name:
            raise UserError(f"{what} '{other}' and '{name}' differ only in how they are written; write them alike")


def spoken(label: str) -> str:
    """A label as it is said in a sentence: ``red_cell`` is a red cell."""
    return " ".join(label.replace("_", " ").split())
