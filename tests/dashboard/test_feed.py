"""The feed: one message a tick for all, the newest only for the slow, nothing computed for nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crypy.dashboard.feed import HISTORY_POINTS, Feed
from crypy.domain.reports import Snapshot
from crypy.runtime.agent import Agent
from crypy.runtime.supervisor import Supervisor
from crypy.testing.clock import ManualClock
from crypy.testing.reports import MadeUpReports


class CountedReports(MadeUpReports):
    asked = 0

    def snapshot(self) -> Snapshot:
        self.asked += 1
        return super().snapshot()


@asynccontextmanager
async def running(reports: CountedReports) -> AsyncIterator[tuple[Feed, ManualClock]]:
    clock, feed = ManualClock(), Feed(reports)

    async def main(context) -> None:
        context.ready()
        await feed.run(context)

    async with Supervisor(clock) as supervisor:
        await supervisor.start(Agent("feed", main))
        yield feed, clock


def data_of(message: bytes) -> dict[str, object]:
    return json.loads(message.partition(b"data: ")[2])


async def open_client(feed: Feed) -> tuple[AsyncIterator[bytes], bytes]:
    events = feed.events()
    return events, await anext(events)


async def test_a_slow_client_gets_the_newest_only_and_a_fast_one_gets_all() -> None:
    reports = CountedReports()
    async with running(reports) as (feed, clock):
        slow, _ = await open_client(feed)
        fast, _ = await open_client(feed)
        seen: list[object] = []
        for _ in range(5):
            reports.advance(1.0)
            await clock.advance(0.25)
            seen.append(data_of(await anext(fast))["made_us"])
        assert seen == sorted(set(seen))
        assert len(seen) == 5
        assert data_of(await anext(slow))["made_us"] == reports.now_us
        assert feed.skipped == 4
        await fast.aclose()  # type: ignore[attr-defined]
        assert feed.clients == 1


async def test_one_snapshot_serves_all_clients_of_a_tick() -> None:
    reports = CountedReports()
    async with running(reports) as (feed, clock):
        clients = [(await open_client(feed))[0] for _ in range(3)]
        before = reports.asked
        await clock.advance(0.25)
        messages = [await anext(client) for client in clients]
        assert reports.asked == before + 1
        assert messages[0] is messages[1] is messages[2]


async def test_without_clients_it_looks_once_a_second_and_keeps_a_bounded_history() -> None:
    reports = CountedReports()
    async with running(reports) as (feed, clock):
        await clock.advance(10.0)
        assert 9 <= reports.asked <= 11
        for _ in range(HISTORY_POINTS + 20):
            reports.advance(1.0)
            await clock.advance(1.0)
        client, first = await open_client(feed)
        history = json.loads(first.partition(b"data: ")[2])
        assert len(history) == HISTORY_POINTS
        at_us, prices = history[-1]
        assert at_us == reports.now_us
        assert prices["BTCUSDT"] == reports.prices["BTC"]
        await client.aclose()  # type: ignore[attr-defined]


async def test_closing_ends_every_clients_events() -> None:
    async with running(CountedReports()) as (feed, _):
        events, _ = await open_client(feed)
        waiting = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
        feed.close()
        assert await waiting is None
        assert feed.clients == 0
