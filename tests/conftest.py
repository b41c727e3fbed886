"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The first example compiles kernels: no deadline tells anything then. The same examples each time, so that a red run is about the change;
# HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("crypy", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "crypy"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recorded market data beside the checkout (or at CRYPY_SHARED_DATA); not part of the project."""
    folder = Path(os.environ.get("CRYPY_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set CRYPY_SHARED_DATA to a folder that holds them")
    return folder
