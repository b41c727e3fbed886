"""`crypy forecast facts` as a person runs it, against a simulated venue: history at once, then each new line once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from forecast_kit import Simulator, simulator, write_minutes
from up_kit import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(write_minutes(tmp_path_factory.mktemp("minutes"))) as running:
        yield running


def test_the_last_facts_come_at_once_from_the_venue(venue: Simulator, tmp_path: Path) -> None:
    done = run("forecast", "facts", "--simulator", venue.control, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["facts"]
    assert len(facts) == 5
    assert all(
        fact["prev_ts"] == before["candle_ts"] and fact["close_prev"] == before["close_curr"]
        for before, fact in pairwise(facts)
    )
    assert all(
        fact["direction"] == ("UP" if fact["delta"] > 0 else "DOWN" if fact["delta"] < 0 else "FLAT") for fact in facts
    )
    assert not list(tmp_path.iterdir()), "nothing is read from files, nothing written"


@pytest.mark.parametrize("timeframe", ["5m", "60m"])
def test_facts_of_longer_candles(venue: Simulator, tmp_path: Path, timeframe: str) -> None:
    done = run(
        "forecast",
        "facts",
        "--simulator",
        venue.control,
        "--symbol",
        "ethusdt",
        "--timeframe",
        timeframe,
        "--last",
        "3",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert all(f"ETHUSDT {timeframe}" in line and " bp  " in line for line in done.stdout.splitlines())


def test_following_tells_only_new_lines(venue: Simulator, tmp_path: Path) -> None:
    done = run("forecast", "facts", "--simulator", venue.control, "--follow", "--for", "6s", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    starts = [json.loads(line)["candle_ts"] for line in done.stdout.splitlines()]
    assert len(starts) >= 5 + 3
    assert all(after - before == 60_000 for before, after in pairwise(starts)), "each once, none left out"


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--timeframe", "2m"), "choose from 1m"), (("--last", "0"), "between 1 and"), (("--symbol", "NOCOIN"), "NOCOIN")],
)
def test_mistakes_are_one_sentence(venue: Simulator, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    done = run("forecast", "facts", "--simulator", venue.control, *options, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
