"""What a venue offers of its past, as the sync sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from crypy.marketdata.parse import TradeKind
from crypy.marketdata.trades import TradeBatch


class ArchiveFile(msgspec.Struct, frozen=True):
    """One file of a venue's archive: all trades of a symbol in `[start_us, end_us)`; `period` is its month or day."""

    symbol: str
    name: str
    url: str
    period: str
    start_us: int
    end_us: int


class Edge(msgspec.Struct, frozen=True):
    """Id and time of one trade at the end of a span."""

    id: int
    time_us: int


class HistorySource(Protocol):
    """Archive and REST of one venue, for one kind of trades.

    Calls wait and repeat by themselves as the venue's rules ask. What is left raises `Unavailable` (later, perhaps) or
    `Rejected` (no).
    """

    @property
    def venue(self) -> str: ...

    @property
    def kind(self) -> TradeKind: ...

    @property
    def page_rows(self) -> int:
        """How many trades one `trades_from` gives at most."""
        ...

    def month_file(self, symbol: str, month: str) -> ArchiveFile:
        """The archive file of a month, `2025-01`, whether it exists or not."""
        ...

    def day_file(self, symbol: str, day: str) -> ArchiveFile:
        """The archive file of a day, `2025-01-15`, whether it exists or not."""
        ...

    async def size(self, file: ArchiveFile) -> int | None:
        """Bytes of the file, 0 where the venue does not tell, `None` where there is no such file."""
        ...

    async def checksum(self, file: ArchiveFile) -> str:
        """SHA-256 of the file, 64 lower-case hexadecimal digits. Raises `Rejected` where the venue has none."""
        ...

    def download(self, file: ArchiveFile, offset: int) -> AsyncIterator[bytes]:
        """The file's bytes from `offset` on, one try; see `Transport.download` for what it raises."""
        ...

    async def first_from(self, symbol: str, start_us: int) -> Edge | None:
        """The first trade at or after the instant, `None` where there is none yet."""
        ...

    async def newest(self, symbol: str) -> Edge | None:
        """The newest trade, `None` where there was never one."""
        ...

    async def trades_from(self, symbol: str, first_id: int) -> TradeBatch:
        """Up to `page_rows` trades with ids from `first_id` on, ascending."""
        ...
