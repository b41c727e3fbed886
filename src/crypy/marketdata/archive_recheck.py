"""Archive files that a venue has replaced since they were read: noticed by their checksum, read again, and told.

Venues mend their archives years later. A sync asks for the checksums of what it once read, those it asked about longest ago
first, so many a time that it stays quick, and none twice a day. A newer version is fetched and stored like any file: rows that
were missing are added; where it contradicts a stored row neither wins, and each sync says so until somebody decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from crypy.domain.errors import VenueError
from crypy.domain.ports import Clock
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.archive_reads import ArchiveRead, ArchiveReads, compared
from crypy.marketdata.trade_source import ArchiveFile, HistorySource

_MOST_QUESTIONS: Final = 32
_ASK_AGAIN_US: Final = DAY_S * US_PER_S


class Recheck(msgspec.Struct, frozen=True):
    """What came of it, in words: what was noticed, and of it what stays open."""

    noticed: tuple[str, ...] = ()
    still_open: tuple[str, ...] = ()


async def recheck(
    source: HistorySource,
    clock: Clock,
    symbol: str,
    reads: ArchiveReads,
    read_again: Callable[[ArchiveFile], Awaitable[bool]],
) -> Recheck:
    """Ask for the checksums that are due; `read_again` fetches and stores a file and says whether it could be believed.

    A venue that does not answer is no fault of the store: what is due stays due.
    """
    now_us = clock.now_us()
    due = _due(await asyncio.to_thread(reads.all), now_us)
    asked: list[ArchiveRead] = []
    noticed: list[str] = []
    still_open: list[str] = []
    try:
        async for read, file, sha256 in compared(source, symbol, due):
            asked.append(msgspec.structs.replace(read, asked_us=now_us))
            told = f"{file.name}, read at {iso(read.read_us)},"
            if sha256 is None:
                noticed.append(f"{told} is no longer in the archive of {source.venue}; what was read from it stays")
            elif sha256 == read.sha256:
                continue
            elif sha256 == read.refused_sha256:
                still_open.append(f"{told} was replaced by one that contradicts what is stored; neither was believed")
            elif await read_again(file):
                asked.pop()
                noticed.append(f"{told} was replaced by {source.venue} since then; the new one has been read, too")
            else:
                asked[-1] = msgspec.structs.replace(asked[-1], refused_sha256=sha256)
                still_open.append(f"{told} was replaced by {source.venue} since then, and the new one was not believed")
    except VenueError as fault:
        noticed.append(f"whether archives were replaced could not be asked ({fault}); the next sync asks")
    await asyncio.to_thread(reads.note, *asked)
    return Recheck(tuple(noticed), tuple(still_open))


def _due(reads: tuple[ArchiveRead, ...], now_us: int) -> list[ArchiveRead]:
    late = [read for read in reads if now_us - read.asked_us >= _ASK_AGAIN_US]
    return sorted(late, key=lambda read: (read.asked_us, read.name))[:_MOST_QUESTIONS]
