"""`crypy up --record`: what was heard is on disk, also after kill -9, holds no secret place, and can be replayed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from up_kit import Up, said_to, settings

from crypy.app.recording import describe_recordings, recorded_sources
from crypy.app.road import Road
from crypy.app.settings import Settings
from crypy.marketdata.recording import Recording
from crypy.runtime.recording_transport import RecordingTransport
from crypy.venues.polymarket.recorded import RecordedMarkets


def sources(folder: Path) -> Counter[str]:
    """Frames on disk, by where they came from."""
    return Counter(one.connection.source for one in Recording(folder).records() if one.word == "frame")


@pytest.mark.slow
def test_a_run_is_recorded_survives_kill_9_and_is_replayed(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config, "--record") as up:
        up.until_trading()
        assert up.agents()["recorder"] == "running"

        def written() -> str:
            talk = said_to(up.terminal(), "attach recorder", "status", "attach binance", "status")
            return talk if "lag of trades" in talk and " 0 written" not in talk else ""

        talk = up.until(written, "something on disk and a lag")
        assert "lost: 0 frames" in " ".join(talk.split()) or "lost 0 frames" in " ".join(talk.split())
        folder = next(data.glob("synthetic-*")) / "recordings"
        # What is killed loses what was not on disk yet: something of each source has to be there.
        up.until(lambda: min(sources(folder)[name] for name in ("binance.stream", "polymarket.market")) > 10, "frames")
        up.kill()

    recording = Recording(folder)
    words = Counter((one.connection.source, one.word) for one in recording.records())
    assert words["binance.stream", "frame"] > 10
    assert words["polymarket.market", "frame"] > 10
    assert words["polymarket.gamma", "answer"] >= 1
    assert words["polymarket.market", "sent"] >= 1
    told = describe_recordings(folder)["sources"]
    assert told["polymarket.market"]["frames"] == words["polymarket.market", "frame"]
    assert told["polymarket.market"]["lag"]["count"] > 0
    markets = RecordedMarkets()
    assert sum(len(events) for _, events in markets.replay(recording.records())) > 10
    # The books as they were when the process was killed.
    assert all(book.valid for book in markets.books.values())
    assert len(markets.books) >= 2 * 2 * 3

    with Up(tmp_path / "again", config, "--replay", str(folder), "--record") as up:
        shown = up.until_snapshot(
            lambda shown: {row["symbol"] for row in shown["symbols"] if row["price"]} == {"BTCUSDT", "XRPUSDT"},
            "prices",
        )
        assert shown["faults"] == []
        assert up.stop()["errors"] == 0
    # What was heard of the replay is what was replayed.
    again = tmp_path / "again" / "replay" / "recordings" / "recordings"
    frames = {one.payload for one in recording.frames(["binance.stream"])}
    heard = [one.payload for one in Recording(again).frames(["binance.stream"])]
    assert heard
    assert set(heard) <= frames
    assert list(again.glob("*.part")) == []


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("wss://stream.binance.com:9443/stream?streams=btcusdt@aggTrade", "binance.stream"),
        ("wss://stream.binance.com:9443/ws/listen-key", None),
        ("https://api.binance.com/api/v3/depth", "binance.depth"),
        ("https://api.binance.com/api/v3/account", None),
        ("https://api.binance.com/api/v3/userDataStream", None),
        ("wss://ws-subscriptions-clob.polymarket.com/ws/market", "polymarket.market"),
        ("wss://ws-subscriptions-clob.polymarket.com/ws/user", None),
        ("https://clob.polymarket.com/book?token_id=7", "polymarket.book"),
        ("https://clob.polymarket.com/auth/derive-api-key", None),
        ("https://clob.polymarket.com/data/orders", None),
        ("https://gamma-api.polymarket.com/events?slug=x", "polymarket.gamma"),
    ],
)
def test_of_the_real_venues_only_public_roads_are_recorded(url: str, source: str | None) -> None:
    sources = recorded_sources(Road.to_real_venues(Settings(), 0))
    transport = RecordingTransport(cast(object, SimpleNamespace()), cast(object, SimpleNamespace()), sources)  # type: ignore[arg-type]  # neither is used
    found = transport.source_of(url)
    assert (None if found is None else found.name) == source
