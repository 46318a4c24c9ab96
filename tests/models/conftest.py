"""Folders of every family, saved once, and copies that a test may spoil."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def forgotten():
    """Load models anew in a test: the last few are kept."""
    from helpers.opened import forget

    forget()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folder of a family's model."""
    from helpers.families import FAMILIES

    folder = tmp_path_factory.mktemp("families")
    made = {}

    def get(family):
        if family not in made:
            made[family] = FAMILIES[family](folder / family)
        return made[family]

    return get


@pytest.fixture
def broken(tmp_path, saved):
    """Copy a family's folder, free to spoil."""

    def make(family="clip"):
        return Path(shutil.copytree(saved(family), tmp_path / f"broken-{family}"))

    return make
