"""Hot swap: a newly deployed model forecasts from a whole second on, none is missed on the way, and what cannot serve is refused with its reason."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from crypy.domain.errors import Incomplete
from crypy.domain.times import US_PER_S
from crypy.forecasting.batch import ForecastBatch
from crypy.forecasting.hot_swap import BASELINE, HotSwap, Rings
from crypy.forecasting.runner import ModelRunner
from crypy.forecasting.shadow import Shadows
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import sequence_from_rings
from crypy.models.artefact import CARD
from crypy.models.composite import Composite
from crypy.models.volatility import FitRecord, VolatilityBaseline
from crypy.testing.clock import ManualClock
from crypy.training.registry import Registry

START_S = 1_735_689_600
SYMBOLS = ("BTCUSDT", "ETHUSDT")
COINS = {"BTC": "BTCUSDT", "ETH": "ETHUSDT"}
WORLD = "synthetic-1"
BASELINE_MODEL = VolatilityBaseline.prior(SYMBOLS, 1)
NOW_S = START_S + 7_000
RINGS = Rings(SYMBOLS, (1, 60), 700_000)


class Source:
    """Second bars that are sealed up to any moment that is asked for."""

    def __init__(self, seconds: int = 7_200) -> None:
        rng = np.random.default_rng(1)
        self.rings: dict[str, Ring] = {}
        for symbol in SYMBOLS:
            close = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-4, seconds)))
            ones = np.ones(len(close))
            bars = Bars(symbol, START_S, 1, close, close, close, close, ones, close, ones.astype(np.int64), 0.5 * ones)
            self.rings[symbol] = Ring.of(bars, (1, 60))

    def feature_sequence(self, end_s: int, schema: FeatureSchema) -> FeatureSequence:
        return sequence_from_rings(self.rings, end_s, schema)


class Sink:
    def __init__(self) -> None:
        self.batches: list[ForecastBatch] = []

    def update_dists(self, batch: ForecastBatch) -> None:
        self.batches.append(batch)


class Live:
    """A runner on a clock that stands still until told, its registry, and the swap between the two."""

    def __init__(self, folder: Path, executor: ThreadPoolExecutor | None = None) -> None:
        self.folder = folder
        self.sink, self.source, self.clock = Sink(), Source(), ManualClock(NOW_S * US_PER_S)
        self.runner = ModelRunner(self.source, BASELINE_MODEL, [self.sink], self.clock, COINS)
        self.registry = Registry(folder / "models", None)
        self.fitted: list[tuple[tuple[str, ...], int]] = []
        self.swap = HotSwap(
            self.runner, self.source, self.registry, WORLD, RINGS, BASELINE_MODEL, self._baseline_at,
            lambda: self.clock.now_us() // US_PER_S, executor,
        )  # fmt: skip

    def artefact(self, name: str, symbols: tuple[str, ...] = SYMBOLS, step_s: int = 1, wider: float = 0.1) -> Path:
        prior = VolatilityBaseline.prior(symbols, step_s)
        rows = {symbol: replace(row, constant=row.constant + wider) for symbol, row in prior.coefficients.items()}
        VolatilityBaseline(rows, step_s, prior.horizons_s, FitRecord()).save(self.folder / name)
        return self.folder / name

    def deploy(self, name: str, stage: str = "deployed", **options: object) -> str:
        one = self.registry.register(self.artefact(name, **options), name, "tester", 1)  # type: ignore[arg-type]
        self.registry.promote(one, WORLD, stage, "tester", 2)  # type: ignore[arg-type]
        return one.ref

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.clock.advance(1.0)
            await self.runner.step(self.clock.now_us())

    def _baseline_at(self, symbols: tuple[str, ...], base_step_s: int) -> VolatilityBaseline:
        self.fitted.append((symbols, base_step_s))
        return VolatilityBaseline.prior(symbols, base_step_s)


async def test_no_second_is_missed_while_a_model_takes_the_other_s_place(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        live = Live(tmp_path, threads)
        await live.seconds(3)
        live.deploy("wider")
        swapping = asyncio.create_task(live.swap.look())
        while not swapping.done():
            await live.seconds(1)
            await asyncio.sleep(0)
        assert swapping.result()
        await live.seconds(3)
    ends = [batch.end_us // US_PER_S for batch in live.sink.batches]
    assert ends == list(range(NOW_S + 1, NOW_S + 1 + len(ends)))
    assert (live.runner.status.skipped, live.runner.status.failed) == (0, 0)
    # From a whole second on all forecasts are the new model's and carry its name; before it none is.
    names = [batch.model for batch in live.sink.batches]
    first = names.index("wider:1")
    assert names == [BASELINE_MODEL.name] * first + ["wider:1"] * (len(names) - first)
    assert 3 <= first <= len(names) - 3
    for number, batch in enumerate(live.sink.batches):
        sequence = live.source.feature_sequence(batch.grid.end_s, BASELINE_MODEL.schema)
        plain = BASELINE_MODEL.predict(sequence, batch.grid.horizons_s)
        assert np.allclose(batch.grid.scale / plain.scale, np.exp(0.1) if number >= first else 1.0)
    assert live.swap.serving.by_symbol == dict.fromkeys(SYMBOLS, "wider:1")


async def test_an_inference_that_is_under_way_ends_with_the_model_it_began_with(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        live = Live(tmp_path, threads)
        live.deploy("wider")
        await live.swap.look()
        held, go = threading.Event(), threading.Event()
        slow = live.runner.model

        class Slow:
            name, schema = "slow", slow.schema

            def predict(self, sequence, horizons_s):
                held.set()
                go.wait(30.0)
                return slow.predict(sequence, horizons_s)

        live.runner.use(Slow(), threads)  # type: ignore[arg-type]
        await live.clock.advance(1.0)
        step = asyncio.create_task(live.runner.step(live.clock.now_us()))
        await asyncio.to_thread(held.wait, 30.0)
        live.swap.fall_back()
        go.set()
        batch = await step
        assert batch is not None
        assert batch.model == "slow"
        await live.seconds(1)
        assert live.sink.batches[-1].model == BASELINE_MODEL.name


async def test_a_symbol_that_no_deployed_model_knows_is_the_baseline_s_at_the_same_step(tmp_path: Path) -> None:
    live = Live(tmp_path)
    live.deploy("minutes", symbols=("BTCUSDT",), step_s=60)
    assert await live.swap.look()
    assert live.fitted == [(("ETHUSDT",), 60)]
    live.swap.fall_back()
    assert await live.swap.look()
    assert live.fitted == [(("ETHUSDT",), 60)]
    assert isinstance(live.swap.serving.model, Composite)
    assert live.swap.serving.by_symbol == {"BTCUSDT": "minutes:1", "ETHUSDT": BASELINE}
    await live.seconds(2)
    assert live.runner.status.failed == 0
    # A later one of another step leads; the earlier one cannot be joined to it and says so.
    live.deploy("seconds", symbols=("ETHUSDT",))
    assert await live.swap.look()
    assert live.swap.serving.by_symbol == {"BTCUSDT": BASELINE, "ETHUSDT": "seconds:1"}
    assert "a later one of 1 s serves" in live.swap.refused["minutes:1"]


async def test_what_cannot_serve_is_refused_and_what_serves_goes_on(tmp_path: Path) -> None:
    live = Live(tmp_path)
    good = live.deploy("good")
    await live.swap.look()
    serving = live.swap.serving
    live.deploy("strange", symbols=("BTCUSDT", "DOGEUSDT"))
    live.deploy("five", symbols=("BTCUSDT",), step_s=300)
    damaged = live.registry.register(live.artefact("damaged", symbols=("ETHUSDT",)), "damaged", "tester", 1)
    live.registry.promote(damaged, WORLD, "deployed", "tester", 2)
    (damaged.folder / CARD).write_text("{}")
    jax = msgspec.json.decode((live.artefact("jax", symbols=("BTCUSDT",)) / CARD).read_bytes())
    (tmp_path / "jax" / CARD).write_bytes(msgspec.json.encode(jax | {"kind": "unheard-of"}))
    unknown = live.registry.register(tmp_path / "jax", "unknown", "tester", 1)
    live.registry.promote(unknown, WORLD, "deployed", "tester", 2)
    assert not await live.swap.look()
    assert live.swap.serving is serving
    assert live.swap.serving.refs == (good,)
    assert "it needs DOGEUSDT" in live.swap.refused["strange:1"]
    assert "base step is 300 s" in live.swap.refused["five:1"]
    assert "not the artefact that was registered" in live.swap.refused["damaged:1"]
    assert "unheard-of" in live.swap.refused["unknown:1"]


def test_a_model_that_looks_back_further_than_is_held_is_refused() -> None:
    schema = BASELINE_MODEL.schema
    assert Rings(SYMBOLS, (1,), schema.history_s).lack(schema) == ""
    assert "a start with it deployed holds more" in Rings(SYMBOLS, (1,), schema.history_s - 1).lack(schema)


async def test_a_model_that_raises_or_gives_none_is_refused_before_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(tmp_path)
    ref = live.deploy("broken")

    class Broken:
        name, schema = "broken", BASELINE_MODEL.schema

        def predict(self, sequence, horizons_s):
            raise KeyError("no such table")

    class Young(Broken):
        def predict(self, sequence, horizons_s):
            raise Incomplete("two days are missing")

    for model, reason in ((Broken(), "KeyError"), (Young(), "too little history: two days")):
        monkeypatch.setattr(live.registry, "load", lambda one, model=model: model)
        live.swap.again()
        live.swap._known.clear()
        assert not await live.swap.look()
        assert reason in live.swap.refused[ref]
        assert live.swap.serving.refs == ()


async def test_a_look_that_finds_nothing_new_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(tmp_path)
    assert live.swap.has_news
    live.deploy("wider")
    assert await live.swap.look()
    assert not live.swap.has_news
    monkeypatch.setattr(live.registry, "load", lambda one: pytest.fail(f"{one.ref} was loaded again"))
    live.registry.register(live.artefact("other", wider=0.3), "other", "tester", 3)
    assert live.swap.has_news
    assert not await live.swap.look()
    assert live.swap.swaps == 1


async def test_a_demoted_model_makes_way_for_the_baseline(tmp_path: Path) -> None:
    live = Live(tmp_path)
    ref = live.deploy("wider")
    await live.swap.look()
    live.registry.demote(live.registry.find(ref), WORLD, "tester", 3, "a test")
    assert await live.swap.look()
    assert live.runner.model is BASELINE_MODEL
    await live.seconds(2)
    assert live.sink.batches[-1].model == BASELINE_MODEL.name


async def test_a_model_that_fails_in_use_costs_its_second_and_not_the_process(tmp_path: Path) -> None:
    live = Live(tmp_path)

    class Failing:
        name, schema = "failing", BASELINE_MODEL.schema

        def predict(self, sequence, horizons_s):
            raise ZeroDivisionError("of all things")

    live.runner.use(Failing())  # type: ignore[arg-type]
    await live.seconds(3)
    assert (live.runner.status.failed, live.runner.status.broken) == (3, 3)
    assert live.runner.status.last_error == "failing: ZeroDivisionError: of all things"
    live.swap.fall_back()
    await live.seconds(1)
    assert live.runner.status.broken == 0


async def test_what_corrects_follows_every_swap_under_the_name_that_serves(tmp_path: Path) -> None:
    live = Live(tmp_path)
    heard: list[tuple[object, str]] = []
    live.swap._on_swap = lambda model, name: heard.append((model, name))
    first = live.deploy("wider")
    await live.swap.look()
    # Another version of the same network has a name of its own.
    second = live.registry.register(live.artefact("again", wider=0.2), "wider", "tester", 1)
    live.registry.promote(second, WORLD, "deployed", "tester", 3)
    await live.swap.look()
    live.swap.fall_back()
    anew = VolatilityBaseline.prior(SYMBOLS, 1)
    live.swap.renew(anew)
    assert [name for _, name in heard] == [first, second.ref, BASELINE_MODEL.name, anew.name]
    assert first != second.ref
    assert heard[-1][0] is anew
    assert live.runner.model is anew


async def test_a_shadow_is_scored_and_not_used(tmp_path: Path) -> None:
    live = Live(tmp_path)
    ref = live.deploy("shadow", stage="shadow", wider=1.0)
    with ThreadPoolExecutor(1) as threads:
        shadows = Shadows(live.registry, WORLD, live.source, RINGS, threads)
        await shadows.look()
        assert list(shadows.running) == [ref]
        shadow = shadows.running[ref]
        for symbol in SYMBOLS:
            shadows.on_close(symbol, NOW_S, 100.0)
        await live.seconds(1)
        shadows.on_batch(live.sink.batches[-1])
        await shadows.close()
        assert not shadow.watch.wants()
        for symbol in SYMBOLS:
            for second in range(NOW_S + 1, NOW_S + 301):
                shadows.on_close(symbol, second, 100.0)
        assert {row.n for row in shadow.watch.rows() if row.horizon_s == 300} == {1}
        assert shadow.ran_s == 1
        await shadows.save()
        again = Shadows(live.registry, WORLD, live.source, RINGS, threads)
        await again.look()
        assert again.running[ref].ran_s == 1
        live.registry.refuse(live.registry.find(ref), WORLD, "deployed", "tester", 3, ("no",))
        live.registry.promote(live.registry.find(ref), WORLD, "deployed", "tester", 4)
        await again.look()
        assert again.running == {}
    assert live.runner.model is BASELINE_MODEL
