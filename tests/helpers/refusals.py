"""Mistakes of a user: one line each, with the words that matter."""

import pytest

from ubench_utils.cli import main
from ubench_utils.errors import UserError
from ubench_utils.models.load import load_model


def refused_model(name, *words):
    """Check that loading the model ends in one UserError of one line that holds all words."""
    with pytest.raises(UserError) as caught:
        load_model(name)
    message = str(caught.value)
    assert "\n" not in message.strip() and len(message) < 900
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def refused(call, *words):
    """Check that the call ends in a UserError that holds all words."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def fails(capsys, arguments, *words):
    """Check for exit code 2 and exactly one line, starting `ubench:`, that holds all words."""
    assert main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("ubench: "), lines
    missing = [word for word in words if word not in lines[0]]
    assert not missing, f"{missing} not in: {lines[0]}"


NESTED = "{spec: " + "[" * 5000 + "]" * 5000 + "}"
