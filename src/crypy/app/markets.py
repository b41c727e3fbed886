"""What `crypy markets` shows: the running process's report, or the venue's own list."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

from crypy.app.folders import data_folder
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError, Unavailable
from crypy.domain.markets import PredictionMarket
from crypy.domain.times import iso
from crypy.runtime.clocks import SystemClock
from crypy.runtime.directory import list_agents
from crypy.runtime.transport import NetTransport
from crypy.venues.polymarket.discovery import MarketDiscovery


def dashboard_path(data_dir: Path, pid: int) -> Path:
    """Where a running process notes the address of its page."""
    return data_dir / "run" / f"{pid}.page"


def running_snapshot(data_dir: Path | None) -> dict[str, Any]:
    """The page's snapshot of the process running on the data folder. Raises `ConfigError` when none does."""
    folder = data_folder(data_dir)
    for process in list_agents(folder):
        page = dashboard_path(folder, process.pid)
        if page.is_file():
            url = page.read_text("utf-8").strip().rstrip("/") + "/api/snapshot"
            try:
                with urllib.request.urlopen(url, timeout=5.0) as answer:  # noqa: S310  an address of our own making
                    return json.load(answer)
            except (URLError, TimeoutError) as error:
                raise ConfigError(f"the page at {url} does not answer: {error}") from None
    raise ConfigError(f"no crypy process runs on {folder}; `crypy up` starts one")


def list_markets(data_dir: Path | None, config: Path | None) -> list[dict[str, str]]:
    """Slug, coin, duration and window of each market: of the running process, else as the venue lists them now."""
    try:
        rows = running_snapshot(data_dir)["rows"]
    except ConfigError:
        settings = load_settings(config)
        return [_described(market) for market in asyncio.run(_discover(settings)).values()]
    return [
        {
            "slug": row["slug"],
            "coin": row["coin"],
            "duration": row["duration"],
            "start": iso(row["start_us"]),
            "end": iso(row["end_us"]),
        }
        for row in rows
    ]


async def _discover(settings: Settings) -> dict[str, PredictionMarket]:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        discovery = MarketDiscovery(
            transport, clock, settings.polymarket.gamma_url, settings.coins, settings.data.durations,
            on_markets=lambda _: None,
        )  # fmt: skip
        await discovery.refresh()
        if discovery.problem:
            raise Unavailable(discovery.problem)
        return dict(discovery.markets)


def _described(market: PredictionMarket) -> dict[str, str]:
    window = market.window
    return {
        "slug": market.slug,
        "coin": market.coin,
        "duration": window.duration,
        "start": iso(window.start_us),
        "end": iso(window.end_us),
    }
