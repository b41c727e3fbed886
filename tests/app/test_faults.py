"""What a whole run does while its venues misbehave: it says so, does not trade on what it cannot believe, and recovers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from up_kit import Books, Faults, Up, settings, store_is_whole

STREAM, REST = "binance.stream", "binance.rest"
BOOKS, GAMMA = "polymarket.stream", "polymarket.gamma"


@dataclass(frozen=True)
class Trouble:
    """Faults that are put in force together, how often the first must strike, and what the page must say meanwhile."""

    name: str
    faults: tuple[tuple[str, str, dict[str, Any]], ...]
    hits: int = 1
    told: tuple[str, ...] = ()
    quick: bool = False


LOST = (STREAM, "drop", {"match": "@aggTrade", "count": 3})
TROUBLES = (
    Trouble("a silent stream", ((STREAM, "stall", {"delay_s": 0, "count": 1}),), told=("no message for",), quick=True),
    Trouble("rubbish", ((STREAM, "rubbish", {"count": 60}),), hits=60),
    Trouble("a frame cut short", ((STREAM, "close_mid_frame", {"count": 1}),), quick=True),
    Trouble("repetitions", ((STREAM, "duplicate", {"share": 0.3, "count": 30}),), hits=30),
    Trouble("disorder", ((STREAM, "reorder", {"share": 0.3, "count": 30}),), hits=30),
    Trouble("lost trades", (LOST,), hits=3),
    Trouble(
        "lost trades and a busy venue",
        ((REST, "status", {"status": 429, "retry_after_s": 20, "count": 1}), LOST),
        told=("429", "model: no second"),
        quick=True,
    ),
    Trouble(
        "lost trades and a ban",
        ((REST, "status", {"status": 418, "retry_after_s": 20, "count": 1}), LOST),
        told=("418",),
    ),
    Trouble("lost trades and a broken venue", ((REST, "status", {"status": 500, "count": 3}), LOST), hits=3),
    Trouble("lost trades and a torn answer", ((REST, "truncate", {"count": 2}), LOST), hits=2),
    Trouble(
        "a closed door",
        ((STREAM, "refuse", {"status": 503, "count": 4}), (STREAM, "close", {"count": 1})),
        hits=4,
        told=("503",),
    ),
    Trouble(
        "a market list that cannot be had", ((GAMMA, "status", {"status": 503, "count": 2}),), told=("503",), hits=2
    ),
)


@pytest.mark.parametrize(
    "troubles",
    [
        pytest.param(tuple(trouble for trouble in TROUBLES if trouble.quick), id="quick"),
        pytest.param(TROUBLES, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_whatever_the_venues_do_it_recovers_and_the_store_is_whole(
    tmp_path: Path, troubles: tuple[Trouble, ...]
) -> None:
    config, data = settings(tmp_path / "crypy.toml", simulator={"trades_per_day": 100_000}), tmp_path / "data"
    with Up(data, config, "--speed", "20") as up:
        up.until_trading()
        for trouble in troubles:
            live_through(trouble, up, up.faults())
        summary = up.stop()
    assert (summary["errors"], summary["faults"]) == (0, [])
    store_is_whole(data)
    Books(data).check()


def live_through(trouble: Trouble, up: Up, faults: Faults) -> None:
    numbers = [faults.add(target, kind, **more) for target, kind, more in trouble.faults]
    said: set[str] = set()

    def struck() -> bool:
        said.update(up.snapshot()["faults"])
        return faults.hits(numbers[0]) >= trouble.hits and all(
            any(part in each for each in said) for part in trouble.told
        )

    up.until(struck, f"{trouble.name} on the page, which showed {said}")
    faults.clear()
    before = up.snapshot()
    rows = {row["symbol"]: row["trades"] for row in before["symbols"]}

    def recovered(shown: dict[str, Any]) -> bool:
        fresh = all(row["trades"] > rows[row["symbol"]] for row in shown["symbols"])
        moved = shown["counters"]["forecasts"] > before["counters"]["forecasts"]
        return (
            fresh
            and moved
            and not shown["faults"]
            and not any(row["stale"] for row in shown["rows"] if row["in_interval"])
        )

    up.until_snapshot(recovered, f"all well after {trouble.name}")


@pytest.mark.parametrize(
    "until_it_recovers", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["while it lasts", "and after"]
)
def test_no_order_is_sent_on_books_that_cannot_be_believed(tmp_path: Path, until_it_recovers: bool) -> None:
    """The books fall silent on an open connection. Their rows say so, and no order is sent until they are back."""
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config, "--speed", "20") as up:
        up.until_trading()
        faults = up.faults()
        number = faults.add(BOOKS, "stall", delay_s=0)
        silent = up.until_snapshot(lambda shown: all("book" in row["stale"] for row in running(shown)), "stale books")
        assert faults.hits(number)
        assert all(row["book_age_s"] > 30.0 for row in running(silent))
        # What was on its way when the last of them went stale may still be answered.
        settled = up.until_snapshot(lambda shown: shown["made_us"] > silent["made_us"] + 10_000_000, "10 s")
        later = up.until_snapshot(lambda shown: shown["made_us"] > settled["made_us"] + 40_000_000, "40 s")
        assert later["counters"]["orders"] == settled["counters"]["orders"]
        assert later["counters"]["forecasts"] > settled["counters"]["forecasts"]
        assert all("book" in row["decision"] for row in running(later) if row["tradable"])
        if not until_it_recovers:
            return
        faults.clear()
        # The stalled connection never speaks again: only a new one does.
        said: set[str] = set()

        def back(shown: dict[str, Any]) -> bool:
            said.update(shown["faults"])
            return bool(running(shown)) and not any(row["stale"] for row in running(shown)) and not shown["faults"]

        up.until_snapshot(back, "books that live again", 100.0)
        up.until_snapshot(lambda shown: shown["counters"]["orders"] > later["counters"]["orders"], "orders again")
        up.stop()
    assert any("no message for" in each or "no answer to PING" in each for each in said), said
    Books(data).check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rubbish", "close_mid_frame", "close", "drop", "duplicate", "reorder"])
def test_books_recover_from_what_their_stream_does(tmp_path: Path, kind: str) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config, "--speed", "20") as up:
        up.until_trading()
        faults = up.faults()
        number = faults.add(BOOKS, kind, count=5 if kind in ("drop", "duplicate", "reorder") else 1)
        up.until(lambda: faults.hits(number), kind)
        struck = up.snapshot()
        up.until_snapshot(
            lambda shown: shown["counters"]["orders"] > struck["counters"]["orders"] + 3 and not shown["faults"],
            f"orders after {kind}",
        )
        summary = up.stop()
    assert summary["errors"] == 0
    store_is_whole(data)
    Books(data).check()


def running(shown: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of markets whose window runs and has not just begun or nearly ended."""
    return [
        row
        for row in shown["rows"]
        if row["in_interval"] and row["start_us"] + 60_000_000 < shown["made_us"] < row["end_us"] - 10_000_000
    ]
