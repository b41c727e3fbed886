"""Recording what `crypy up` hears: the roads that are recorded, the agent that writes, and what a folder of recordings holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from crypy.app.road import Road
from crypy.domain.ports import Transport
from crypy.domain.times import iso
from crypy.marketdata.feed_lag import FeedLag, LagRow
from crypy.marketdata.recorder import Recorder, RecorderStatus
from crypy.marketdata.recording import Recorded, Recording
from crypy.marketdata.recording_lines import FRAME
from crypy.marketdata.recording_times import message_times
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.recording_transport import RecordingTransport, Source
from crypy.runtime.transport import NetTransport

log = structlog.get_logger()

_MIB = 1 << 20
_HEARD = (FRAME, "answer")


def recorded_sources(road: Road) -> tuple[Source, ...]:
    """What is recorded: public streams, and the public answers that books and markets are made of."""
    clob = road.clob_url.rstrip("/")
    return (
        Source("binance.stream", f"{road.stream_url.rstrip('/')}/stream"),
        Source("binance.depth", f"{road.rest_url.rstrip('/')}/api/v3/depth"),
        Source("polymarket.market", road.market_ws_url),
        Source("polymarket.book", f"{clob}/book"),
        Source("polymarket.terms", f"{clob}/clob-markets"),
        Source("polymarket.gamma", road.gamma_url.rstrip("/")),
    )


@asynccontextmanager
async def opened_transport(road: Road, folder: Path | None) -> AsyncGenerator[tuple[Transport, Recorder | None]]:
    """Sockets to the road's venues, recorded into `folder` where one is given. Raises `ConfigError` where another run records into it."""
    if folder is None:
        async with NetTransport(road.clock) as net:
            yield net, None
        return
    recorder = Recorder(folder, road.clock)
    try:
        async with NetTransport(road.clock) as net:
            yield RecordingTransport(net, recorder, recorded_sources(road)), recorder
    finally:
        # After the sockets, so that their ends are recorded too.
        recorder.close()


def recorder_agent(recorder: Recorder) -> Agent:
    """The agent that writes; degraded while nothing can be written."""

    async def main(context: AgentContext) -> None:
        told = recorder.status()

        def tell(now: RecorderStatus) -> None:
            nonlocal told
            if now.fault:
                context.degrade(now.fault)
            else:
                context.recover()
            if now.removed_files != told.removed_files:
                log.info("recorder.removed", files=now.removed_files, bytes=now.removed_bytes, budget=now.budget_bytes)
            if now.torn_bytes != told.torn_bytes:
                log.info("recorder.cut", torn_bytes=now.torn_bytes)
            told = now

        context.ready()
        await recorder.run(SystemClock(), tell)

    return Agent("recorder", main, status=lambda: _status(recorder.status()))


def lag_status(lag: FeedLag) -> dict[str, str]:
    """Lags as a terminal shows them."""
    return {f"lag of {row.source.partition('.')[2]}": _lag_words(row) for row in lag.rows()}


def describe_recordings(folder: Path) -> dict[str, Any]:
    """What a folder of recordings holds, by source: connections, frames, HTTP answers, bytes, times, and how late its news was.

    Raises `ConfigError` for a folder without recordings, `DataError` for a file that is none.
    """
    recording = Recording(folder)
    connections = Counter(connection.source for connection in recording.connections)
    found: dict[str, _Held] = {source: _Held() for source in recording.sources}
    lag = FeedLag(window_s=float(10**9))
    for record in recording.records():
        source = record.connection.source
        if record.word in _HEARD:
            found[source].add(record)
        if record.word == FRAME:
            times = message_times(source, record.payload)
            event_us = times.sent_us if times.event_us is None else times.event_us
            if event_us is not None:
                lag.update(source, event_us, record.received_us)
    lags = {row.source: row for row in lag.rows()}
    return {
        "folder": str(folder),
        "torn_bytes": sum(torn.end - torn.start for torn in recording.torn),
        "sources": {
            source: {"connections": connections[source], **held.told(), "lag": _lag_told(lags.get(source))}
            for source, held in found.items()
        },
    }


class _Held:
    """What was received from one source, counted."""

    def __init__(self) -> None:
        self.frames = self.answers = self.bytes = self.first_us = self.last_us = 0

    def add(self, record: Recorded) -> None:
        self.first_us = self.first_us or record.received_us
        self.last_us = record.received_us
        self.frames += record.word == FRAME
        self.answers += record.word != FRAME
        self.bytes += len(record.payload)

    def told(self) -> dict[str, Any]:
        first, last = (iso(time_us) if time_us else None for time_us in (self.first_us, self.last_us))
        return {
            "frames": self.frames,
            "answers": self.answers,
            "bytes": self.bytes,
            "first_time": first,
            "last_time": last,
        }


def _status(told: RecorderStatus) -> Mapping[str, str]:
    return {
        "folder": told.folder,
        "connections": str(told.channels),
        "frames": str(told.frames),
        "bytes": f"{told.raw_bytes} as received, {told.written_bytes} written",
        "kept": f"{told.kept_bytes / _MIB:.1f} of {told.budget_bytes / _MIB:.0f} MiB in {told.files} files",
        "removed": f"{told.removed_files} files, {told.removed_bytes / _MIB:.1f} MiB",
        "lost": f"{told.lost_frames} frames, {told.lost_bytes} bytes",
    }


def _lag_words(row: LagRow) -> str:
    return (
        f"p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms, max {row.max_ms:.1f} ms ({row.count} in {row.span_s:.0f} s)"
    )


def _lag_told(row: LagRow | None) -> dict[str, float] | None:
    """Of the newest events of a source; `None` where its messages tell no time."""
    if row is None:
        return None
    return {"count": row.count, "p50_ms": row.p50_ms, "p99_ms": row.p99_ms, "max_ms": row.max_ms}
