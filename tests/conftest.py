"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of training and validation audio; tests that need it are skipped where it is not at hand.

    It lies beside the repository (`../shared/data`); TRUENET_DATA names another place.
    """
    folder = Path(os.environ.get("TRUENET_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}; set TRUENET_DATA to where it is")
    return folder
