"""Tables as people have them: CSV files of spreadsheets, in which every cell is a text."""

import csv
import io
import re
from collections.abc import Collection

import pandas as pd

from ..errors import UserError

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def read_csv(content: bytes, path, known: Collection[str]) -> pd.DataFrame:
    """Table of a CSV file in UTF-8, every cell a text, an empty one missing.

    Commas, semicolons or tabs separate the columns: the one that gives the header most of the ``known`` names, or else
    most columns. Rows without any content, which spreadsheets leave at the end, are no rows.

    Raises
    ------
    UserError
        If it is not in UTF-8, is empty, a row has more cells than the header, or a quotation mark does not close.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not in UTF-8; save as UTF-8 (a spreadsheet calls it “CSV UTF-8”)") from error
    if "\0" in text:
        raise UserError(f"'{path}' holds zero bytes, so it is no text in UTF-8; save as UTF-8")
    told = re.match(r"sep=(.)\r?\n", text)  # a spreadsheet's own line
    text = text[told.end() :] if told else text
    head = io.StringIO(text[:100_000].replace("\r\n", "\n").replace("\r", "\n"))
    line = next((line for line in head if line.strip()), "")
    names = {
        mark: {cell.strip().lower() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True))}
        for mark in ([told[1]] if told else SEPARATORS)
    }
    mark = max(names, key=lambda mark: (len(names[mark] & {*known}), len(names[mark])))
    # "None" is a stain and "NA" may be a name: only an empty field is missing. A row longer than the header is refused.
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            sep=mark,
            header=None,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            skipinitialspace=True,
        )
    except pd.errors.EmptyDataError as error:
        raise UserError(f"'{path}' is empty") from error
    except pd.errors.ParserError as error:
        opened = re.search(r"EOF inside string starting at row (\d+)", str(error))
        if opened:
            raise UserError(f"'{path}', line {int(opened[1]) + 1}: a quotation mark opens, and none closes") from error
        long = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if not long:
            raise
        raise UserError(
            f"'{path}', line {long[2]}: it has {long[3]} cells, the header {long[1]}; put a text that holds "
            f"{SEPARATORS.get(mark, mark)} in quotes"
        ) from error
    cells = cells.dropna(how="all")
    return cells.iloc[1:].set_axis(cells.iloc[0].fillna(""), axis=1).reset_index(drop=True)
