"""Recorded depth streams as the tests of books read them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec


def recorded(path: Path) -> Iterator[tuple[bytes, dict[str, Any], int]]:
    """Data of each message, the same as JSON, and its time of reception in microseconds."""
    with gzip.open(path) as lines:
        for line in lines:
            at_ns, _, message = line.partition(b" ")
            whole = json.loads(message)
            data = (
                bytes(msgspec.json.decode(message, type=dict[str, msgspec.Raw])["data"]) if "data" in whole else message
            )
            yield data, whole.get("data", whole), int(at_ns) // 1_000
