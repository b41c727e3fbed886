"""Fixtures of the tests of market data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from s3_kit import S3, served


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One server for all tests of the process: it takes seconds to start."""
    with served() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, with credentials for it in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
