"""The direction forecaster beside the markets of `crypy up`: how it is asked for, that its failures are its own, and a whole run of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from forecast_kit import write_models
from up_kit import Up, settings

from crypy.app import directions as module
from crypy.app.directions import Directions
from crypy.app.forecast.bybit import BybitRoad
from crypy.app.road import Road
from crypy.app.settings import BybitSettings, ForecastSettings, Settings, checked
from crypy.app.up import UpOptions, _simulation  # pyright: ignore[reportPrivateUsage]
from crypy.domain.errors import ConfigError
from crypy.domain.reports import Counters, DirectionReport
from crypy.forecasting.direction.record_lines import fact_lines, prediction_lines
from crypy.forecasting.direction.recorder import Recorder
from crypy.models.direction.port import FlatRule
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.supervisor import RestartPolicy, Supervisor
from crypy.simulator.settings import Ready

NOWHERE = BybitRoad.on(SystemClock(), 1.0, "http://127.0.0.1:9", "ws://127.0.0.1:9", BybitSettings())
QUICK = RestartPolicy(first_wait_s=0.01, factor=1.0)


@pytest.mark.parametrize(
    ("said", "in_settings", "serves"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_the_simulator_serves_bybit_where_directions_are_asked_for(
    tmp_path: Path, said: bool | None, in_settings: bool, serves: bool
) -> None:
    chosen = Settings(forecast=ForecastSettings(in_up=in_settings))
    serve, world = _simulation(UpOptions(directions=said), chosen, tmp_path)
    assert serve.venues == (("polymarket", "bybit") if serves else ("polymarket",))
    assert world.forecast_dir == world.folder / "forecast"


def test_the_setting_is_a_truth_value_and_nothing_else() -> None:
    assert checked({"forecast": {"in_up": True}}, "crypy.toml", Settings).forecast.in_up is True
    with pytest.raises(ConfigError, match=r"forecast.in_up = 'yes'"):
        checked({"forecast": {"in_up": "yes"}}, "crypy.toml", Settings)


def test_a_recording_has_no_past_to_forecast_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--no-directions"):
        _simulation(UpOptions(directions=True, replay=tmp_path), Settings(), tmp_path)
    _simulation(UpOptions(replay=tmp_path), Settings(), tmp_path / "data")


def test_the_road_leads_to_bybit_where_there_is_one() -> None:
    names = ("archive", "rest", "stream", "gamma", "clob", "market_ws")
    urls = {name: f"http://127.0.0.1/{name}" for name in names}

    def road(**more: str) -> Road:
        return Road.to_simulator(
            Ready(epoch_us=0, wall_us=0, speed=2.0, mode="synthetic", symbols=("BTCUSDT",), streams=(), history_start_us=0,
                  end_us=None, ports={}, urls=urls | more)
        )  # fmt: skip

    assert (road().bybit_rest_url, road().bybit_stream_url) == ("", "")
    served = road(bybit_rest="http://a", bybit_stream="ws://a")
    assert (served.bybit_rest_url, served.bybit_stream_url) == ("http://a", "ws://a")
    real = Road.to_real_venues(Settings(bybit=BybitSettings(rest_url="https://b", stream_url="wss://b")), 0)
    assert (real.bybit_rest_url, real.bybit_stream_url) == ("https://b", "wss://b")


class Seen:
    """States that agents have been in, with a word when one of them is reached."""

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], str] = {}
        self._changed = asyncio.Event()

    def __call__(self, agent: Agent) -> None:
        self.reasons[agent.name, agent.state] = agent.reason
        self._changed.set()

    async def until(self, name: str, state: str) -> str:
        """The reason that an agent gave for a state, once it is in it."""
        async with asyncio.timeout(60.0):
            while (name, state) not in self.reasons:
                self._changed.clear()
                await self._changed.wait()
        return self.reasons[name, state]


async def _idle(context: AgentContext) -> None:
    context.ready()
    await context.forever()


@pytest.mark.parametrize(
    ("models", "state", "says"), [("", "degraded", "127.0.0.1:9"), ("nothing-of-the-kind", "failed", "holds no model")]
)
async def test_a_forecaster_that_cannot_open_degrades_itself_alone(
    tmp_path: Path, models: str, state: str, says: str
) -> None:
    """Without a venue it is tried again, without a model there is no point in that; whoever started it never waited."""
    chosen = ForecastSettings(models=(models or str(write_models(tmp_path / "models")),))
    directions = Directions(chosen, NOWHERE, tmp_path / "forecast", tmp_path)
    seen, other = Seen(), Agent("prices", _idle)
    async with Supervisor(SystemClock(), QUICK, on_change=seen) as supervisor:
        for agent in (other, *directions.agents()):
            assert await supervisor.start(agent)
        assert says in await seen.until("forecaster", state)
        assert other.state == "running"
        assert supervisor.agent("bybit").state == "running"
        assert (directions.reports(), directions.counters()) == ((), Counters())
        assert supervisor.agent("forecaster").status()["last minute"] == "none: warming up"
    await directions.close()
    # What was taken for the attempt has been given back.
    with Recorder(tmp_path / "forecast"):
        pass


class FakeService:
    def __init__(self) -> None:
        self.running = asyncio.Event()

    async def run(self, context: AgentContext) -> None:
        self.running.set()
        await context.forever()

    def reports(self) -> Iterable[DirectionReport]:
        return (DirectionReport(symbol="BTCUSDT", timeframe="1m"),)

    def status(self) -> dict[str, str]:
        return {"last minute": "now"}


class FakeProcess:
    def __init__(self) -> None:
        self.service = FakeService()
        self.followed = asyncio.Event()
        self.flat = FlatRule()

    def be_flat(self, rule: FlatRule) -> None:
        self.flat = rule

    def counters(self) -> Counters:
        return Counters(forecasts=3, errors=1)

    async def run_feed(self, context: AgentContext) -> None:
        self.followed.set()
        await context.forever()

    def feed_status(self) -> dict[str, str]:
        return {"connected": "true"}

    def last(self) -> list[dict[str, str]]:
        return [{"symbol": "BTCUSDT"}]


async def test_the_feed_waits_until_the_forecaster_is_open_and_knobs_hold_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, may_open = FakeProcess(), asyncio.Event()

    async def opened(*_: object, **__: object) -> Any:
        await may_open.wait()
        return process

    monkeypatch.setattr(module, "open_process", opened)
    directions = Directions(ForecastSettings(), NOWHERE, tmp_path / "forecast", tmp_path)
    async with Supervisor(SystemClock(), QUICK) as supervisor:
        for agent in directions.agents():
            assert await supervisor.start(agent)
        forecaster = supervisor.agent("forecaster")
        forecaster.knobs["min_margin"].turn("0.25")
        (last,) = forecaster.commands
        assert last.handler() == []
        assert not process.followed.is_set()
        may_open.set()
        async with asyncio.timeout(60.0):
            await process.service.running.wait()
            await process.followed.wait()
        assert process.flat.min_margin == 0.25
        forecaster.knobs["min_probability"].turn("0.75")
        assert process.flat == FlatRule(0.75, 0.25)
        assert directions.reports() == (DirectionReport(symbol="BTCUSDT", timeframe="1m"),)
        assert directions.counters() == Counters(forecasts=3, errors=1)
        assert last.handler() == [{"symbol": "BTCUSDT"}]
        assert supervisor.agent("bybit").status()["connected"] == "true"
    await directions.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_with_directions_forecasts_them_and_trades(tmp_path: Path) -> None:
    config = settings(
        tmp_path / "crypy.toml",
        data={"symbols": ["BTCUSDT", "ETHUSDT"]},
        forecast={"models": [str(write_models(tmp_path / "models"))]},
    )
    data = tmp_path / "data"
    with Up(data, config, "--directions", "--speed", "30", "--for", "120s") as up:
        shown = up.until_snapshot(
            lambda now: [one for one in now["directions"] if one["counts"]["n"]], "a direction that was judged", 140.0
        )
        # Candles of every timeframe are shown, forecasts of those that have a model.
        assert {(one["symbol"], one["timeframe"]) for one in shown["directions"]} == {
            (symbol, timeframe) for symbol in ("BTCUSDT", "ETHUSDT") for timeframe in ("1m", "5m", "15m", "60m")
        }
        up.until_trading()
        assert up.agents()["forecaster"] == up.agents()["bybit"] == "running"
        told = up.stop()
    assert told["directions"] > 0
    assert told["forecasts"] > 0
    assert (told["errors"], told["faults"]) == (0, [])
    folder = next(data.glob("synthetic-*")) / "forecast"
    made = [line.record for line in prediction_lines(folder)]
    assert len(made) == told["directions"]
    assert next(iter(fact_lines(folder)), None) is not None
    assert not (data / "forecast").exists()
    running = [line for line in up.log() if line.get("event") == "forecast.running"]
    assert json.loads(json.dumps(running))[0]["dir"] == str(folder)
