"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path, content: bytes | str) -> None:
    """Write a file aside and put it in place at once: a reader, a kill or a full disk never meets half of it.

    Parameters
    ----------
    path : str or Path
        Its folder exists.
    content : bytes or str
        Text is written as UTF-8.
    """
    path = Path(path)
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(aside, 0o666 & ~_umask())  # mkstemp's files are their owner's alone
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Permissions that new files of this process lack; reading it means setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
