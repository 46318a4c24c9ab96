"""Columns as found: what stands for a name, a pixel size, or whether an image is synthetic.

A column is read where its values are certain. Where they are not, as with bare numbers instead of names, one line
names the column; single values that say nothing are not stated, and counted.
"""

import re
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import UserError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SYNTHETIC = {
    **dict.fromkeys(("yes", "true", "1", "synthetic"), "synthetic"),
    **dict.fromkeys(("no", "false", "0", "real"), "real"),
}


def names(column: pa.ChunkedArray, where: str) -> tuple[pd.Series, int]:
    """Names of a column, such as its stains; blanks around them are dropped, what is empty is null.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Of all rows of a file, so that a value's number is that of its row.
    where : str
        Dataset and column, for messages.

    Returns
    -------
    names : pandas.Series of str
        Of Unicode's composed form.
    changed : int
        How many were written otherwise.

    Raises
    ------
    UserError
        If the column holds no text, or a name holds a control character.
    """
    found = text(column, where)
    kept = [value and unicodedata.normalize("NFC", value.strip()) or None for value in found]
    for row, value in enumerate(kept):
        _check_printable(value, f"{where}, row {row}")
    changed = sum(bool(kept) and value != kept for value, kept in zip(found, kept, strict=True))
    return pd.Series(kept, dtype="str"), changed


def keys(column: pa.ChunkedArray, where: str) -> pd.Series:
    """Image ids as they are; numbers become text. Parameters and errors as for ``names``; none may be empty."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        found = [None if value is None else str(value) for value in _values(column)]
    else:
        found = text(column, where)
    for row, value in enumerate(found):
        if value is None or not value.strip():
            raise UserError(f"{where}: {'null' if value is None else 'empty'} in row {row}")
        _check_printable(value, f"{where}, row {row}")
    return pd.Series(found, dtype="str")


def text(column: pa.ChunkedArray, where: str) -> list:
    """Values of a column of text or of nothing but nulls; anything else is refused."""
    if is_text(column.type):
        return column.to_pylist()
    if _is_empty(column):
        return [None] * len(column)
    wanted = "store text, or a ClassLabel with its names"
    raise UserError(f"{where}: holds values of type {column.type} where names are expected; {wanted}")


def pixel_sizes(column: pa.ChunkedArray, where: str) -> tuple[np.ndarray, list]:
    """Pixel sizes in micrometres, float64, NaN where not stated; and the values that are no positive, finite number.

    A column that holds neither numbers nor text is refused.
    """
    kind = column.type
    if is_text(kind):
        given = [value and value.strip() or None for value in column.to_pylist()]
        found = [float(value) if value and NUMBER.fullmatch(value) else np.nan for value in given]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or _is_empty(column):
        given = _values(column)
        found = [np.nan if value is None else float(value) for value in given]
    else:
        raise UserError(f"{where}: holds values of type {kind} where numbers are expected (micrometres per pixel)")
    sizes = np.array(found, dtype=np.float64)
    sizes[~((sizes > 0) & np.isfinite(sizes))] = np.nan
    return sizes, [value for value, size in zip(given, sizes, strict=True) if value is not None and np.isnan(size)]


def synthetic(column: pa.ChunkedArray, where: str) -> pd.Series:
    """Whether images are synthetic: ``synthetic``, ``real`` or null, from truth values, 0 and 1, or yes and no."""
    kind = column.type
    if pa.types.is_boolean(kind):
        found = [None if value is None else str(value).casefold() for value in column.to_pylist()]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = [None if value is None else f"{value:g}" for value in _values(column)]
    else:
        found = [value and value.strip().casefold() or None for value in text(column, where)]
    for row, value in enumerate(found):
        if value is not None and value not in SYNTHETIC:
            raise UserError(f"{where}, row {row}: '{value[:40]}' says neither yes nor no (true, false, yes, no, 1, 0)")
    return pd.Series([value and SYNTHETIC[value] for value in found], dtype=object)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of bytes of any length."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_empty(column: pa.ChunkedArray) -> bool:
    """Whether all values are missing."""
    if pa.types.is_floating(column.type):
        return all(value is None for value in _values(column))
    return column.null_count == len(column)


def _values(column: pa.ChunkedArray) -> list:
    """Values of a column, None for NaN too, which is how pandas writes what is missing."""
    return [None if value != value else value for value in column.to_pylist()]


def _check_printable(name: str | None, where: str) -> None:
    if name and any(unicodedata.category(character) == "Cc" for character in name):
        raise UserError(f"{where}: the name {name[:40]!r} holds a control character; take it out")
