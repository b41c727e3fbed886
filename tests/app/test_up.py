"""`crypy up` as its user meets it: a process, a page, a terminal, a summary."""

from __future__ import annotations

import json
from pathlib import Path

from up_kit import Books, Up, children, left_behind, run, said_to, settings, store_is_whole

AGENTS = [
    "dashboard", "terminal", "history", "journal", "binance", "repair", "model", "models", "discovery", "polymarket", "desk", "engines", "world",
]  # fmt: skip


def test_a_run_forecasts_trades_and_can_be_looked_into(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config) as up:
        shown = up.until_trading()
        assert len(shown["rows"]) == shown["counters"]["markets"] == 2 * 3 * 3
        assert {row["coin"] for row in shown["rows"]} == {"BTC", "XRP"}
        assert all(row["simulated"] for row in shown["rows"])
        assert shown["account"]["mode"] == "paper"
        assert shown["faults"] == []

        listed = json.loads(run("agents", "list", "--json", "--data-dir", data).stdout)["processes"]
        assert [agent["name"] for agent in listed[0]["agents"]] == AGENTS
        report = json.loads(run("markets", "report", "--json", "--data-dir", data).stdout)
        assert {row["slug"] for row in report["rows"]} == {row["slug"] for row in shown["rows"]}

        talk = said_to(
            up.terminal(), "help", "status", "get min_edge", "set min_edge 0.2", "get min_edge", "pause", "status", "resume",
            "set min_edge 7", "attach binance", "status", "attach nobody",
        )  # fmt: skip
        assert "turn a knob" in talk
        assert "decisions" in talk
        assert "-> 0.2" in talk
        assert "engines is paused" in talk
        assert "engines is running" in talk
        assert "connected" in talk
        assert "no agent is called 'nobody'" in talk
        attached = run("agents", "attach", "desk", "--data-dir", data, input="status\nexit\n")
        assert "open orders" in attached.stdout
        assert run("agents", "attach", "nobody", "--data-dir", data).returncode == 2

        up.until_snapshot(lambda now: now["counters"]["forecasts"] >= 3, "three forecasts")
        followers = children(up.process.pid)
        told = up.stop()
    assert told["forecasts"] >= 3
    assert told["decisions"] > 10
    assert (told["errors"], told["faults"]) == (0, [])
    assert set(told["symbols"]) == {"BTCUSDT", "XRPUSDT"}
    assert all(symbol["history_s"] > 80_000 for symbol in told["symbols"].values())
    assert followers
    assert left_behind(data) == []
    books = Books(data)
    books.check()
    assert len(books.fills) == told["fills"] > 0
    rows = store_is_whole(data)
    assert all(rows[symbol] > 2_000 for symbol in rows)
    assert run("agents", "list", "--data-dir", data).stdout == ""
    assert "no crypy process runs" in run("markets", "report", "--data-dir", data).stderr
    # Every line of the log is one JSON object, whoever wrote it.
    assert all(line["event"] for line in up.log())
