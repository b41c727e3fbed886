"""What a venue offers of its past candles: by REST alone (`CandleSource`), or by archive files too (`KlineSource`).

A candle is asked for by its open time and is number `open_time // length` of its kind: numbers are consecutive, so that what is
missing shows in the numbers, as it does in the ids of trades.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from crypy.domain.events import Candle
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.trade_source import ArchiveFile


class CandleSource(Protocol):
    """REST of one venue. Calls wait and repeat by themselves as its rules ask; what is left raises `Unavailable` or `Rejected`."""

    @property
    def venue(self) -> str: ...

    @property
    def intervals_s(self) -> tuple[int, ...]:
        """The lengths of candle that the venue has, in seconds."""
        ...

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        """Closed candles that open in `[start_us, end_us)`, ascending and each once; one that the venue does not have is absent."""
        ...


class KlineSource(CandleSource, Protocol):
    """A venue that publishes files of its candles, and tells them by REST in exact decimals."""

    @property
    def page_rows(self) -> int:
        """How many candles one `rows` gives at most."""
        ...

    def month_file(self, symbol: str, interval_s: int, month: str) -> ArchiveFile:
        """The archive file of a month, `2025-01`, whether it exists or not."""
        ...

    def day_file(self, symbol: str, interval_s: int, day: str) -> ArchiveFile:
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

    async def first_open_us(self, symbol: str, interval_s: int, start_us: int) -> int | None:
        """Open time of the first closed candle at or after the instant, `None` where there is none yet."""
        ...

    async def last_open_us(self, symbol: str, interval_s: int, end_us: int | None = None) -> int | None:
        """Open time of the newest closed candle, or of the last that opens before `end_us`; `None` where there was never one."""
        ...

    async def rows(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> CandleRows:
        """Closed candles that open in `[start_us, end_us)`, at most `page_rows` of them; all that the venue has of the first so many."""
        ...
