"""Real minutes of a day through the whole forecaster, as a person runs it: `crypy simulator serve` and `crypy forecast run` as processes over real
sockets, the shipped models, kill -9 in the middle, `crypy forecast eval`; pybit and ccxt look at the same venue meanwhile.

Four hours at 240 times the wall's speed; with CRYPY_LONG=1 a whole day at 600 times. The numbers are printed (`pytest -s`).
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forecast_kit import SYMBOLS, Forecaster, simulator
from up_kit import CRYPY, run, until

from crypy.app.forecast.learning import flat_rule, learner_settings
from crypy.app.forecast.members import members_of
from crypy.app.forecast.minutes import minutes_of
from crypy.app.settings import ForecastSettings
from crypy.domain.times import US_PER_S, iso, parse_time_us
from crypy.forecasting.direction.predictor import Predictor
from crypy.forecasting.direction.record_lines import candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.records import SECONDS, PredictionRecord, Timeframe
from crypy.forecasting.direction.replaying import cut, minutes
from crypy.marketdata.bars import Bars
from crypy.models.direction.learner import PATTERNS, Learner
from crypy.models.direction.market import Market
from crypy.models.direction.port import TIMEFRAMES_S
from crypy.models.direction.situation import Situations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLIENTS = Path(__file__).resolve().parents[2] / ".venv-clients/bin/python"
READER = Path(__file__).resolve().parents[1] / "clients/klines_read.py"
IS_LONG = os.environ.get("CRYPY_LONG", "") not in ("", "0")
HOURS, SPEED = (24, 600) if IS_LONG else (4, 240)
BEGIN_S = parse_time_us("2025-09-10T00:00:00Z") // US_PER_S
END_S = BEGIN_S + 3_600 * HOURS
OVER = "the candle to forecast was over"

Pair = tuple[str, Timeframe]
PAIRS: list[Pair] = [(symbol, timeframe) for symbol in SYMBOLS for timeframe in SECONDS]
Made = dict[tuple[str, Timeframe, int], PredictionRecord]


class Day:
    """What a run left: its files, where the first process began to look back, what stood in the files when it was killed, the last summary, and what the
    other clients read."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.source = source
        self.since_s = 0
        self.before: Made = {}
        self.taken_up_s = 0
        self.summary: dict[str, Any] = {}
        self.read: dict[str, dict[str, list[list[float]]]] = {}

    def made(self) -> Made:
        """Every forecast; one that is told twice is a mistake."""
        found: Made = {}
        for line in prediction_lines(self.folder):
            key = line.record.symbol, line.record.timeframe, line.record.candle_ts
            assert key not in found, f"{line.where}: forecast from twice"
            found[key] = line.record
        return found

    def closed(self) -> dict[Pair, list[int]]:
        """The start of each candle that closed from the first minute taken to the last, in milliseconds."""
        taken = [one.record.ts_start // 1_000 for one in candle_lines(self.folder) if one.record.timeframe == "1m"]
        first_s, stop_s = min(taken), max(taken) + 60
        return {
            (symbol, timeframe): [
                (end_s - step_s) * 1_000 for end_s in range(first_s // step_s * step_s + step_s, stop_s + 1, step_s)
            ]
            for symbol, timeframe in PAIRS
            for step_s in (SECONDS[timeframe],)
        }


@pytest.fixture(scope="module")
def source(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minutes of the days that are needed, in a folder of their own: the simulator reads them at once."""
    folder = tmp_path_factory.mktemp("minutes")
    first_ms, last_ms = (BEGIN_S - 6 * 86_400) * 1_000, (END_S + 3 * 3_600) * 1_000
    for symbol in SYMBOLS:
        with gzip.open(shared_data / f"klines_1m/binance_spot/{symbol}_1m_2025Q3.csv.gz", "rt") as file:
            head = next(file)
            rows = [row for row in file if first_ms <= int(row.partition(",")[0]) < last_ms]
        (folder / f"{symbol}.csv").write_text("".join((head, *rows)), "utf-8")
    return folder


@pytest.fixture(scope="module")
def day(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The run itself: half of it, kill -9, the other half, an orderly end."""
    folder = tmp_path_factory.mktemp("day") / "forecast"
    done = Day(folder, source)
    with simulator(source, iso(BEGIN_S * US_PER_S), SPEED) as venue:
        said = folder.with_name("said")
        with said.open("wb") as file, folder.with_name("shown").open("wb") as shown:
            first = subprocess.Popen(
                [*CRYPY, "forecast", "run", "--simulator", venue.control, "--models", "shipped", "--dir", str(folder),
                 "--data-dir", str(folder.parent / "data"), "--port", "0", "--terminal-port", "0"],
                stdout=shown, stderr=file, cwd=folder.parent,
            )  # fmt: skip
        try:
            until(lambda: reached(folder, first, said) >= (BEGIN_S + END_S) // 2, "half of the time", 300.0)
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
        done.since_s = parse_time_us(said.read_text("utf-8").partition(" since ")[2].split()[0]) // US_PER_S
        done.before = done.made()
        done.taken_up_s = taken_up_s(folder)
        second = Forecaster(folder, venue.control, "shipped")
        try:
            until(
                lambda: reached(folder, second.process) >= done.taken_up_s + 1_200, "the second process at work", 120.0
            )
            if CLIENTS.exists():
                urls = venue.urls["bybit_rest"], venue.urls["bybit_stream"]
                asked = [str(CLIENTS), str(READER), *urls, "100"]
                told = subprocess.run(asked, capture_output=True, text=True, timeout=100, check=False)
                assert told.returncode == 0, told.stderr
                done.read = json.loads(told.stdout)
            until(lambda: reached(folder, second.process) >= END_S, "the end of the time", 300.0)
            done.summary = second.stop()
        finally:
            second.kill()
    return done


def tell(text: str) -> None:
    """A line of numbers for whoever runs this with `-s`."""
    sys.stdout.write(f"\n{text}")


def reached(folder: Path, process: subprocess.Popen[Any], said: Path | None = None) -> int:
    """The end of the last candle that is in the files, in seconds; 0 before there is one."""
    assert process.poll() is None, said.read_text("utf-8") if said is not None else process.communicate()
    path = folder / "candles.jsonl"
    whole = path.read_bytes()[-1_000:].split(b"\n")[:-1] if path.exists() else []
    return json.loads(whole[-1])["ts_end"] // 1_000 + 1 if whole and whole[-1].startswith(b"{") else 0


def taken_up_s(folder: Path) -> int:
    """Where a second process takes the minutes up one by one: at the first candle that has no line, or whose fact has none."""
    candles = {(one.symbol, one.timeframe): one.ts_start for one in (line.record for line in candle_lines(folder))}
    facts = {(one.symbol, one.timeframe): one.candle_ts for one in (line.record for line in fact_lines(folder))}
    return (
        min(
            start_ms // 1_000 + 2 * SECONDS[timeframe]
            for known in (candles, facts)
            for (_, timeframe), start_ms in known.items()
        )
        - 60
    )


def test_every_closed_candle_has_its_line_and_its_fact(day: Day) -> None:
    closed = day.closed()
    bars = minutes_of(day.source, SYMBOLS, None, END_S + 3 * 3_600)
    candles: dict[Pair, list[Any]] = {pair: [] for pair in PAIRS}
    for line in candle_lines(day.folder):
        assert not line.record.corrected
        assert line.record.confirmed
        candles[line.record.symbol, line.record.timeframe].append(line.record)
    facts: dict[Pair, list[Any]] = {pair: [] for pair in PAIRS}
    for line in fact_lines(day.folder):
        facts[line.record.symbol, line.record.timeframe].append(line.record)
    for pair in PAIRS:
        assert [one.ts_start for one in candles[pair]] == closed[pair], pair
        assert [one.candle_ts for one in facts[pair]] == closed[pair], pair
        for one in candles[pair]:
            rows = slice(
                *((edge_ms // 1_000 - bars[pair[0]].start_s) // 60 for edge_ms in (one.ts_start, one.ts_end + 1))
            )
            mine = bars[pair[0]]
            told = mine.open[rows][0], mine.high[rows].max(), mine.low[rows].min(), mine.close[rows][-1]
            assert (one.o, one.h, one.l, one.c) == told, (pair, one)
            assert one.volume == pytest.approx(mine.volume[rows].sum(), rel=1e-12)
        closes = {one.ts_start: one.c for one in candles[pair]}
        for fact in facts[pair][1:]:
            assert (fact.close_prev, fact.close_curr) == (closes[fact.prev_ts], closes[fact.candle_ts])


def test_every_closed_candle_is_forecast_from_once_but_for_those_that_were_over(day: Day) -> None:
    made, missing = day.made(), missing_of(day)
    assert len(made) + len(missing) == sum(len(starts) for starts in day.closed().values())
    # A process that starts is at work when it forecasts minutes: a longer candle is in time while it still catches up with them.
    begun_us = min(one.made_us for key, one in day.before.items() if key[1] == "1m")
    again_us = min(one.made_us for key, one in made.items() if key not in day.before and key[1] == "1m")
    stalled = []
    for symbol, timeframe, start_ms in missing:
        close_us = (start_ms // 1_000 + SECONDS[timeframe]) * US_PER_S
        over_us = close_us + SECONDS[timeframe] * US_PER_S
        was_away = over_us <= begun_us or (close_us > day.taken_up_s * US_PER_S and over_us <= again_us)
        if not was_away:
            stalled.append((symbol, timeframe, iso(close_us)))
    # A machine that is held up for longer than a candle takes at this speed cannot forecast it; that is no rule.
    assert len(stalled) <= 0.02 * len(made), stalled
    assert not [one for one in stalled if one[1] in ("15m", "60m")], stalled
    away_s = again_us // US_PER_S - day.taken_up_s
    after = [key for key in missing if key[2] // 1_000 + SECONDS[key[1]] > day.taken_up_s]
    assert day.summary["skipped"] == len(after), "what was left out is told"
    assert set(day.summary["skipped_for"]) <= {OVER}
    assert (day.summary["gaps"], day.summary["errors"], day.summary["lines_lost"]) == (0, 0, 0)
    tell(
        f"{HOURS} h at {SPEED}: {len(made)} forecasts, {sum(map(len, day.closed().values()))} candles and facts, {len(missing)} not forecast"
        f" ({len(stalled)} of them held up), away for {away_s} s of the market; {json.dumps(day.summary)}"
    )


def test_what_was_forecast_live_is_what_is_computed_offline_bit_for_bit(day: Day) -> None:
    """What models say, their weights, patterns and calibration: from the same first minute, equal bits until the process was killed."""
    offline = computed(day, set(missing_of(day)))
    assert len(day.before) >= 50 * HOURS
    for key, live in day.before.items():
        # What is of the moment and not of the market.
        found = msgspec.structs.replace(offline[key], made_us=live.made_us, latency_us=live.latency_us)
        assert found == live, key
    # The second process looks back from another minute: the longest averages remember a little of what is older. The memory
    # of patterns speaks from so much evidence on, and may do so some candles apart.
    later = [(offline[key], one) for key, one in day.made().items() if key not in day.before and key in offline]
    assert len(later) >= 50 * HOURS
    models = max(
        abs(chances[0] - one.members[name][0])
        for other, one in later
        for name, chances in other.members.items()
        if name != PATTERNS
    )
    pooled = max(abs(other.raw_p_up - one.raw_p_up) for other, one in later)
    tell(
        f"{len(day.before)} forecasts equal in all bits; after the restart {len(later)}, the models' p_up at most {models:.5f} apart,"
        f" with patterns and weights {pooled:.5f}"
    )
    assert models < 0.005


def test_the_files_are_judged(day: Day) -> None:
    told = run("forecast", "eval", "--dir", day.folder, "--json", cwd=day.folder.parent, seconds=120.0)
    assert told.returncode == 0, told.stderr
    judged = json.loads(told.stdout)
    facts = {(one.record.symbol, one.record.timeframe, one.record.prev_ts) for one in fact_lines(day.folder)}
    known = [key for key in day.made() if key in facts]
    assert {(one["symbol"], one["timeframe"]): one["n"] for one in judged["by"]} == {
        pair: sum(key[:2] == pair for key in known) for pair in PAIRS
    }
    assert judged["n"] == len(known)
    for one in judged["by"]:
        scores = {
            name: one[name]
            for name in ("n", "ties", "gain", "sign_accuracy", "accuracy", "ece_raw", "ece", "ece_noise")
        }
        tell(f"{one['symbol']} {one['timeframe']} {json.dumps(scores)} gain +- {one['se'].get('gain')}")


def test_pybit_and_ccxt_read_the_candles_that_were_recorded(day: Day) -> None:
    if not day.read:
        pytest.skip(f"no {CLIENTS}: `make clients` builds it")
    recorded = {
        (f"{one.symbol} {one.timeframe}", one.ts_start): [one.o, one.h, one.l, one.c, one.volume, one.turnover]
        for one in (line.record for line in candle_lines(day.folder))
    }
    for client, series in day.read.items():
        for name, rows in series.items():
            both = [row for row in rows if (name, int(row[0])) in recorded]
            assert len(both) >= (2 if name.endswith("60m") else 4), (client, name, rows)
            for row in both:
                mine = recorded[name, int(row[0])]
                assert row[1:5] == mine[:4], (client, name, row)
                assert row[5:] == pytest.approx(mine[4 : len(row) - 1], rel=1e-12), (client, name, row)
    compared = {
        client: sum((name, int(row[0])) in recorded for name, rows in series.items() for row in rows)
        for client, series in day.read.items()
    }
    tell(f"{compared} candles read and equal")


def missing_of(day: Day) -> list[tuple[str, Timeframe, int]]:
    """Closed candles that were not forecast from."""
    made = day.made()
    return [(*pair, start) for pair, starts in day.closed().items() for start in starts if (*pair, start) not in made]


def computed(day: Day, missing: set[tuple[str, Timeframe, int]]) -> Made:
    """Every minute of the run in one go, by the handler that live uses, from the minute that the first process looked back to. The clock stands so that a candle
    that live was too late for is over here, too."""
    chosen = ForecastSettings()
    members = {
        one.name: one.member for one in members_of(("shipped",), SYMBOLS, TIMEFRAMES_S, day.folder.parent / "data")
    }
    first_s = min(starts[0] for pair, starts in day.closed().items() if pair[1] == "1m") // 1_000
    bars: Mapping[str, Bars] = {
        symbol: cut(one, day.since_s, END_S) for symbol, one in minutes_of(day.source, SYMBOLS, None, END_S).items()
    }
    market = Market(SYMBOLS, day.since_s)
    learners = {
        (symbol, timeframe_s): Learner(learner_settings(chosen)) for symbol in SYMBOLS for timeframe_s in TIMEFRAMES_S
    }
    now_us = [0]
    predictor = Predictor(
        market,
        members,
        learners,
        flat_rule(chosen),
        lambda: now_us[0],
        situation=Situations(TIMEFRAMES_S),
        keep=len(bars[SYMBOLS[0]]),
    )
    market.extend({symbol: cut(one, day.since_s, first_s) for symbol, one in bars.items()})
    found: Made = {}
    for candles in minutes(bars, first_s, END_S):
        end_s = market.end_s + 60
        late_s = [
            SECONDS[timeframe] for _, timeframe, start_ms in missing if start_ms // 1_000 + SECONDS[timeframe] == end_s
        ]
        now_us[0] = (end_s + max(late_s, default=0)) * US_PER_S
        for one in predictor.close_minute(candles, now_us[0]).predictions:
            found[one.symbol, one.timeframe, one.candle_ts] = one
    return found
