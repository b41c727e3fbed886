"""Real processes for tests of `crypy forecast`: a simulator that tells made minutes, a forecaster, and what its files have to be like."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from up_kit import CRYPY

from crypy.forecasting.direction.record_lines import candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.records import SECONDS
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.plain import CONSTANT, LAST, DirectionTable
from crypy.models.volatility import FitRecord

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START_S = 1_735_689_600
# A minute of the market is a second of the wall.
SPEED = 60
DAYS = 4


def write_models(folder: Path) -> Path:
    """Two small models of minutes and one of five of them."""
    chances = np.array([[[0.47, 0.47], [0.46, 0.49], [0.49, 0.46]]] * 2)
    record = FitRecord(start_s=START_S - 86_400 * 90, end_s=START_S - 86_400, data_fingerprint="made for a test")
    for kind, timeframe_s in ((CONSTANT, 60), (LAST, 60), (LAST, 300)):
        table = DirectionTable(kind, DirectionInputs(SYMBOLS, timeframe_s), chances, record)
        table.save(folder / f"{kind}-{timeframe_s}")
    return folder


def write_minutes(folder: Path) -> Path:
    """Some days of made minutes, a file a symbol."""
    for seed, symbol in enumerate(SYMBOLS):
        rng = np.random.default_rng(seed)
        closes = np.round(1_000.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, DAYS * 1_440))), 2)
        opens = np.concatenate(([1_000.0], closes[:-1]))
        spread = np.round(rng.uniform(0.0, 0.5, (2, len(closes))), 2)
        volume = np.round(rng.uniform(1.0, 9.0, len(closes)), 3)
        rows = [
            f"{(START_S + 60 * at) * 1_000},{opens[at]:.2f},{max(opens[at], closes[at]) + spread[0, at]:.2f},"
            f"{min(opens[at], closes[at]) - spread[1, at]:.2f},{closes[at]:.2f},{volume[at]:.3f}"
            for at in range(len(closes))
        ]
        text = "\n".join(["open_time,open,high,low,close,volume", *rows]) + "\n"
        (folder / f"{symbol}.csv").write_text(text, "utf-8")
    return folder


class Simulator:
    """A simulator in a process of its own; `tell` puts something wrong with its Bybit."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.urls: dict[str, str] = ready["urls"]
        self.control = self.urls["control"]

    def tell(self, target: str, kind: str, **more: Any) -> None:
        body = json.dumps({"target": target, "kind": kind, **more}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.control}/faults", body), timeout=10.0) as answer:
            assert answer.status == 201


@contextmanager
def simulator(minutes: Path, begins: str = "2025-01-03T00:00:00Z", speed: int = SPEED) -> Iterator[Simulator]:
    process = subprocess.Popen(
        [*CRYPY, "simulator", "serve", "--minutes", str(minutes), "--from", begins, "--speed", str(speed),
         "--venues", "bybit", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=minutes,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr is not None else ""
        yield Simulator(process, json.loads(line))
    finally:
        process.terminate()
        process.communicate(timeout=30.0)


class Forecaster:
    """`crypy forecast run` in a process of its own."""

    def __init__(self, folder: Path, control: str, models: Path | str, *more: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*CRYPY, "forecast", "run", "--json", "--simulator", control, "--models", str(models), "--dir", str(folder),
             "--data-dir", str(folder.parent / "data"), "--port", "0", "--terminal-port", "0", *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent,
        )  # fmt: skip

    def made(self, timeframe: str = "1m") -> list[int]:
        """The candles of BTC that were forecast from, as the files tell now."""
        assert self.process.poll() is None, self.process.communicate()
        return forecast_from(self.folder, "BTCUSDT", timeframe)

    def kill(self) -> None:
        """At once; without effect on one that has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=30.0)

    def stop(self) -> dict[str, Any]:
        """End it by a signal; its summary."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60.0)
        assert self.process.returncode == 0, err
        return json.loads(out)


def forecast_from(folder: Path, symbol: str, timeframe: str) -> list[int]:
    return [
        line.record.candle_ts
        for line in prediction_lines(folder)
        if (line.record.symbol, line.record.timeframe) == (symbol, timeframe)
    ]


def are_whole(folder: Path) -> None:
    """Every line can be read, no candle is there twice or missing, no forecast is made twice, and each has the fact of the next candle."""
    for symbol in SYMBOLS:
        for timeframe in ("1m", "5m"):
            step_ms = SECONDS[timeframe] * 1_000
            mine = [
                line.record
                for line in candle_lines(folder)
                if (line.record.symbol, line.record.timeframe) == (symbol, timeframe)
            ]
            starts = [one.ts_start for one in mine if not one.corrected]
            assert all(after - before == step_ms for before, after in pairwise(starts)), (symbol, timeframe, starts)
            closes = {one.ts_start: one.c for one in mine}
            made = forecast_from(folder, symbol, timeframe)
            assert len(made) == len(set(made))
            facts = {
                line.record.candle_ts: line.record
                for line in fact_lines(folder)
                if (line.record.symbol, line.record.timeframe) == (symbol, timeframe)
            }
            for candle_ts in made:
                if candle_ts + step_ms <= starts[-1]:
                    fact = facts[candle_ts + step_ms]
                    assert (fact.prev_ts, fact.close_curr) == (candle_ts, closes[fact.candle_ts])
