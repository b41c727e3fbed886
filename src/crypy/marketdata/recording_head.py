"""What a file of a recording says about itself: its name and its first line."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

VERSION = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of each file. `run_us` is when the recorder was started: with `connection` it names a connection for ever.

    `part` counts the files of a connection, from 1: by it they follow each other, for two may begin in one microsecond.
    """

    version: int = VERSION
    run_us: int
    connection: int
    part: int
    source: str
    url: str


def file_name(first: datetime, head: Head, again: int) -> str:
    """`20260806T140312.123456Z_binance.stream_0003-0001` (connection and part): names sort by time. `again` tells equal ones apart."""
    source = _UNSAFE.sub("-", head.source) or "unnamed"
    name = f"{first:%Y%m%dT%H%M%S.%f}Z_{source}_{head.connection:04d}-{head.part:04d}"
    return f"{name}~{again}" if again else name
