"""The dashboard over real sockets: it shows, it pushes, and it can change nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from crypy.dashboard.guard import host_name
from crypy.dashboard.server import PAGE, DashboardServer
from crypy.domain.errors import ConfigError
from crypy.domain.reports import Snapshot
from crypy.runtime.agent import Agent
from crypy.runtime.clocks import SystemClock
from crypy.runtime.supervisor import Supervisor
from crypy.testing.reports import MadeUpReports


class BrokenReports:
    def __init__(self) -> None:
        self.good = MadeUpReports()
        self.error: Exception | None = None

    def snapshot(self) -> Snapshot:
        if self.error is not None:
            raise self.error
        return self.good.snapshot()


@asynccontextmanager
async def fetching(server: DashboardServer, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.get(server.url + path) as response:
        yield response


@asynccontextmanager
async def serving(reports: object, token: str = "") -> AsyncIterator[tuple[DashboardServer, Supervisor]]:
    clock = SystemClock()
    async with Supervisor(clock) as supervisor:
        server = DashboardServer(reports, clock, port=0, token=token)  # type: ignore[arg-type]
        await supervisor.start(server.agent())
        yield server, supervisor


async def read_events(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, object]]:
    events: list[tuple[str, object]] = []
    kind = ""
    while len(events) < count:
        line = (await asyncio.wait_for(response.content.readline(), 5)).decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            events.append((kind, json.loads(line.removeprefix("data: "))))
    return events


async def test_the_snapshot_is_the_reports_to_the_last_value() -> None:
    reports = MadeUpReports()
    async with serving(reports) as (server, _), fetching(server, "api/snapshot") as response:
        body = await response.read()
        assert response.content_type == "application/json"
    assert msgspec.json.decode(body, type=Snapshot) == reports.snapshot()
    assert len(json.loads(body)["rows"]) == 60


async def test_updates_are_pushed_and_begin_with_the_history_of_prices() -> None:
    reports = MadeUpReports()
    async with serving(reports) as (server, _), fetching(server, "events") as response:
        assert response.content_type == "text/event-stream"
        events = await read_events(response, 3)
        reports.advance(10)
        events += await read_events(response, 2)
    kinds = [kind for kind, _ in events]
    assert kinds == ["history", "snapshot", "snapshot", "snapshot", "snapshot"]
    times = [data["made_us"] for kind, data in events if kind == "snapshot"]  # type: ignore[index]
    assert times[-1] - times[0] == 10_000_000


async def test_each_client_gets_the_same_bytes_and_leaving_is_noticed() -> None:
    async with serving(MadeUpReports()) as (server, _), aiohttp.ClientSession() as session:
        async with session.get(server.url + "events") as one, session.get(server.url + "events") as other:
            first, second = await read_events(one, 2), await read_events(other, 2)
            assert first[1] == second[1]
            async with session.get(server.url + "healthz") as response:
                assert await response.json() == {"ok": True, "clients": 2}
        async with asyncio.timeout(5):
            while server.status()["clients"] != "0":  # noqa: ASYNC110 - the client leaves over a real socket
                await asyncio.sleep(0.01)


async def test_a_snapshot_that_fails_is_told_and_the_next_one_may_work() -> None:
    reports = BrokenReports()
    async with serving(reports) as (server, supervisor), fetching(server, "events") as response:
        await read_events(response, 2)
        reports.error = KeyError("nexus")
        events = await read_events(response, 2)
        assert events[-1] == ("fault", "no snapshot: KeyError: 'nexus'")
        assert supervisor.agent("dashboard").state == "degraded"
        reports.error = None
        events = await read_events(response, 2)
        assert events[-1][0] == "snapshot"
        assert supervisor.agent("dashboard").state == "running"


async def test_nothing_but_reading_is_possible() -> None:
    async with serving(MadeUpReports()) as (server, _), aiohttp.ClientSession() as session:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"):
            for path in ("", "api/snapshot", "events", "healthz", "app.js"):
                async with session.request(method, server.url + path, data=b"x") as response:
                    assert response.status == 405, (method, path)


async def test_a_name_that_is_not_loopbacks_is_not_served() -> None:
    async with serving(MadeUpReports()) as (server, _), aiohttp.ClientSession() as session:
        for host, status in [
            ("evil.example", 421),
            ("127.0.0.1.evil.example:80", 421),
            ("localhost:1", 200),
            ("[::1]:1", 200),
        ]:
            async with session.get(server.url + "api/snapshot", headers={"Host": host}) as response:
                assert response.status == status, host


async def test_every_answer_forbids_what_the_page_does_not_need() -> None:
    async with serving(MadeUpReports()) as (server, _), aiohttp.ClientSession() as session:
        for path in ("", "app.js", "fan.js", "style.css", "icon.svg", "healthz", "nothing-here"):
            async with session.get(server.url + path) as response:
                assert "default-src 'none'" in response.headers["content-security-policy"]
                assert response.headers["x-content-type-options"] == "nosniff"
                assert "access-control-allow-origin" not in response.headers
                assert (response.status == 404) == (path == "nothing-here")
        async with session.head(server.url + "events") as response:
            assert response.status == 200


def test_the_page_asks_nobody_else_for_anything() -> None:
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//cdn" not in text
        assert 'src="http' not in text
        assert "url(http" not in text
        assert "innerHTML" not in text
        assert " style=" not in text


async def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(ConfigError, match="set a token"):
        DashboardServer(MadeUpReports(), SystemClock(), host="0.0.0.0")
    async with serving(MadeUpReports(), token="sesame") as (server, _), aiohttp.ClientSession() as session:
        url = server.url + "api/snapshot"
        async with session.get(url) as response:
            assert response.status == 401
        async with session.get(url, headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
        async with session.get(url, headers={"Authorization": "Bearer sesame"}) as response:
            assert response.status == 200
        async with session.get(server.url + "?token=sesame", allow_redirects=False) as response:
            assert (response.status, response.headers["location"]) == (303, "/")
            cookie = response.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "samesite=strict" in cookie.lower()
        async with session.get(url, headers={"Cookie": cookie.split(";")[0]}) as response:
            assert response.status == 200


async def test_a_port_in_use_is_named() -> None:
    async with serving(MadeUpReports()) as (server, supervisor):
        assert server.address is not None
        port = server.address[1]
        second = DashboardServer(MadeUpReports(), SystemClock(), port=port)
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"):
            await supervisor.start(Agent("second", second.main))


async def test_stopping_ends_open_pages_at_once_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with serving(MadeUpReports()) as (server, supervisor), aiohttp.ClientSession() as session:
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        async with session.get(server.url + "events") as response:
            await read_events(response, 2)
            async with asyncio.timeout(3):
                await supervisor.stop_agent("dashboard")
        assert supervisor.agent("dashboard").state == "stopped"
        assert server.url == ""


@pytest.mark.parametrize(
    ("host", "name"), [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:80", "::1"), ("", ""), ("[", ""), (":80", "")]
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name
