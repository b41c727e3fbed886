"""Binance's spot streams in recordings of our own, which may hold other venues beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from crypy.marketdata.recording import Recorded, Recording
from crypy.marketdata.recording_file import PART, SUFFIX
from crypy.simulator.binance_wire import uncombined

_VENUE = "binance."


class Read(NamedTuple):
    """An event of a stream, or a depth snapshot (`stream` empty), as it was received."""

    received_ns: int
    symbol: str
    stream: str
    data: bytes


def holds_own(folder: Path) -> bool:
    """Whether our recorder has written here."""
    return any(path.name.endswith((SUFFIX, PART)) for path in folder.iterdir())


def own_lines(folder: Path) -> Iterator[Read]:
    """Stream events and snapshots by receive time; what else was said on the connections is passed over."""
    recording = Recording(folder)
    asked: dict[tuple[int, int], str] = {}
    for record in recording.records([source for source in recording.sources if source.startswith(_VENUE)]):
        key = record.connection.run_us, record.connection.number
        if record.word == "frame":
            inside = uncombined(record.payload)
            if inside is not None:
                yield Read(record.received_ns, inside[0].partition("@")[0].upper(), *inside)
        elif record.word == "asked":
            asked[key] = record.payload.decode("utf-8", "replace")
        elif record.word == "answer":
            yield from _snapshot(asked.pop(key, ""), record)


def _snapshot(asked: str, record: Recorded) -> Iterator[Read]:
    """The answer of `/api/v3/depth`, where it was one."""
    status, _, url = asked.partition(" ")[2].partition(" ")
    parts = urlsplit(url)
    symbol = parse_qs(parts.query).get("symbol", [""])[0]
    if status == "200" and parts.path.endswith("/depth") and symbol:
        yield Read(record.received_ns, symbol, "", record.payload)
