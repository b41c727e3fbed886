"""Binance's data archive on loopback: daily and monthly zips of trades and of klines with their checksums.

A file exists once its day (its month) is over by the clock, and where the market had begun. Everything else is
a 404 with S3's XML, as the venue's bucket answers.
"""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.archive_files import ArchiveFiles, ArchiveName, parse_name
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.faults import Faults
from crypy.simulator.http_faults import fault_middleware
from crypy.simulator.kline_archive import KlineFiles, KlineName, parse_kline_name
from crypy.simulator.sockets import serve_app

TARGET = "binance.archive"
_CHECKSUM: Final = ".CHECKSUM"


class ArchiveServer:
    """The archive of one source; `delay_s` is how long after a day's end its file appears."""

    def __init__(self, source: BinanceSource, clock: Clock, faults: Faults, delay_s: float = 0.0) -> None:
        self._source = source
        self._clock = clock
        self._faults = faults
        self._delay_us = int(delay_s * US_PER_S)
        self._making = asyncio.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: ArchiveFiles | None = None
        self._klines: KlineFiles | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""
        app = web.Application(middlewares=[fault_middleware(TARGET, self._faults, self._clock, _fault_body)])
        app.add_routes(
            [
                web.get("/data/spot/{period}/klines/{symbol}/{interval}/{file}", self._answer),
                web.get("/data/spot/{period}/{kind}/{symbol}/{file}", self._answer),
                web.get("/{path:.*}", _absent),
            ]
        )
        self._folder = tempfile.TemporaryDirectory(prefix="crypy-archive-")
        self._files = ArchiveFiles(self._source, Path(self._folder.name))
        self._klines = KlineFiles(self._source, Path(self._folder.name))
        self._runner, taken = await serve_app(app, "Binance's archive", host, port)
        return taken

    async def close(self) -> None:
        """Free the port and delete the zips."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._folder is not None:
            async with self._making:
                self._folder.cleanup()
            self._folder = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match = request.match_info
        wants_checksum = match["file"].endswith(_CHECKSUM)
        file = match["file"].removesuffix(_CHECKSUM)
        if "interval" in match:
            name = parse_kline_name(match["period"], match["symbol"], match["interval"], file)
        else:
            name = parse_name(match["period"], match["kind"], match["symbol"], file)
        if name is None or name.end_us + self._delay_us > self._clock.now_us():
            return _missing(request.path)
        spoil = self._faults.pick(TARGET, ("rows",), request.path)
        path = await self._path(name, "" if spoil is None else spoil.value)
        if path is None:
            return _missing(request.path)
        if wants_checksum:
            return await self._checksum(request, name, path)
        if self._faults.pick(TARGET, ("corrupt_zip",), request.path) is not None:
            return web.Response(body=_corrupted(path.read_bytes()), content_type="application/zip")
        return web.FileResponse(path, headers={"Content-Type": "application/zip"})

    async def _path(self, name: ArchiveName | KlineName, rows_fault: str) -> Path | None:
        files, klines = self._files, self._klines
        if files is None or klines is None:
            return None
        if isinstance(name, KlineName):
            ready, make = klines.ready(name, rows_fault), partial(klines.path, name, rows_fault)
        else:
            ready, make = files.ready(name, rows_fault), partial(files.path, name, rows_fault)
        if ready.exists():
            return ready
        async with self._making:
            return await asyncio.to_thread(make)

    async def _checksum(self, request: web.Request, name: ArchiveName | KlineName, path: Path) -> web.Response:
        files = self._files
        digest = "" if files is None else await asyncio.to_thread(files.checksum, path)
        if self._faults.pick(TARGET, ("wrong_checksum",), request.path) is not None:
            digest = digest[::-1]
        return web.Response(text=f"{digest}  {name.stem}.zip\n", content_type="binary/octet-stream")


def _corrupted(data: bytes) -> bytes:
    """Sixteen bytes in the middle turned over."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 16]) + data[middle + 16 :]


async def _absent(request: web.Request) -> web.Response:
    return _missing(request.path)


def _missing(path: str) -> web.Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.'
        f"</Message><Key>{path.lstrip('/')}</Key></Error>"
    )
    return web.Response(status=404, text=body, content_type="application/xml")


def _fault_body(status: int) -> bytes:
    code = {404: "NoSuchKey", 503: "SlowDown"}.get(status, "InternalError")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
