"""The agent `models`: the baseline takes over from a model that gives nothing, and demotion is written down where it is the model's fault."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from test_hot_swap import BASELINE_MODEL, NOW_S, RINGS, SYMBOLS, WORLD, Live

from crypy.app.model_side import ModelSide
from crypy.app.settings import ModelSettings
from crypy.domain.errors import Incomplete
from crypy.forecasting.shadow import Shadows


def side_of(live: Live, threads: ThreadPoolExecutor, settings: ModelSettings | None = None) -> ModelSide:
    shadows = Shadows(live.registry, WORLD, live.source, RINGS, threads)
    return ModelSide(settings or ModelSettings(), live.swap, shadows, live.runner, live.source)


class Failing:
    name, schema = "failing", BASELINE_MODEL.schema

    def predict(self, sequence, horizons_s):
        raise ZeroDivisionError("of all things")


async def seconds(live: Live, side: ModelSide, count: int) -> None:
    for _ in range(count):
        await live.clock.advance(1.0)
        await side.step(live.clock.now_us())


async def test_a_model_that_breaks_loses_its_place_to_the_one_before_it(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        side = side_of(live, threads)
        champion = live.deploy("champion", wider=0.05)
        broken = live.deploy("broken")
        await side.look()
        assert live.swap.serving.refs == (broken,)
        live.runner.use(Failing())  # type: ignore[arg-type]
        await seconds(live, side, 5)
        assert live.sink.batches == []
        # The sixth second is the baseline's; soon after the journal has it and the champion before is back.
        await seconds(live, side, 1)
        assert live.sink.batches[-1].model == BASELINE_MODEL.name
        await side._act_on_alarm()
        assert live.swap.serving.refs == (champion,)
        await seconds(live, side, 1)
        assert live.sink.batches[-1].model == champion
    entry = live.registry.find(broken).entries[-1]
    assert entry.event == "demoted"
    assert "ZeroDivisionError: of all things" in entry.reasons[0]
    assert entry.successor == champion
    assert side.demotions == 1


async def test_a_model_without_its_history_is_replaced_for_the_while_and_not_demoted(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        side = side_of(live, threads)
        ref = live.deploy("needy")
        await side.look()
        whole = live.source.feature_sequence

        def hole(end_s, schema):
            raise Incomplete("a hole in the trades")

        live.source.feature_sequence = hole  # type: ignore[method-assign]
        await seconds(live, side, 5)
        assert live.swap.serving.refs == ()
        live.source.feature_sequence = whole  # type: ignore[method-assign]
        await seconds(live, side, 1)
        assert live.sink.batches[-1].model == BASELINE_MODEL.name
        await side._act_on_alarm()
        assert live.registry.find(ref).stage(WORLD) == "deployed"
        side.swap.again()
        await side.look()
        assert live.swap.serving.refs == (ref,)


async def test_models_are_compared_by_what_they_say_themselves(tmp_path: Path) -> None:
    live = Live(tmp_path)
    # Self-calibration that makes everything five times as wide: a comparison with it would show.
    live.runner._correct = lambda grid: replace(grid, scale=5.0 * grid.scale)
    live.deploy("same", wider=0.0)
    live.deploy("alike", stage="shadow", wider=0.0)
    with ThreadPoolExecutor(1) as threads:
        side = side_of(live, threads)
        await side.look()
        # The watch begins with the first forecast and knows its price with the second.
        for second in (NOW_S, NOW_S + 1):
            for symbol in SYMBOLS:
                side.on_close(symbol, second, 100.0)
            await seconds(live, side, 1)
            await side.shadows.close()
        sequence = live.source.feature_sequence(NOW_S + 2, BASELINE_MODEL.schema)
        batch = live.sink.batches[-1]
        said = BASELINE_MODEL.predict(sequence, batch.grid.horizons_s)
        assert batch.grid.scale.tolist() == (5.0 * said.scale).tolist()
        for symbol in SYMBOLS:
            for second in range(NOW_S + 2, NOW_S + 302):
                side.on_close(symbol, second, 100.05)
        assert side._watch is not None
        rows = [*side._watch.rows(), *side.shadows.running["alike:1"].watch.rows()]
    assert [(row.n, row.gain) for row in rows if row.horizon_s == 300] == [(1, 0.0)] * 4


async def test_the_settings_can_keep_to_the_baseline(tmp_path: Path) -> None:
    live = Live(tmp_path)
    live.deploy("wider")
    with ThreadPoolExecutor(1) as threads:
        side = side_of(live, threads, ModelSettings(use="baseline"))
        await side.look()
        assert live.swap.serving.refs == ()


async def test_the_watch_demotes_a_model_that_is_far_too_wide_and_only_warns_where_it_may_not(tmp_path: Path) -> None:
    for may in (True, False):
        live = Live(tmp_path / str(may))
        with ThreadPoolExecutor(1) as threads:
            side = side_of(live, threads, ModelSettings(demote=may, false_alarms_a_year=0.5))
            ref = live.deploy("wide", wider=3.0)
            await side.look()
            # Made-up prices that do what the baseline expects of five minutes; one forecast is taken in each round.
            for number in range(40):
                for symbol in SYMBOLS:
                    side.on_close(symbol, live.clock.now_us() // 1_000_000, 100.0)
                await seconds(live, side, 1)
                if side._watch is None or side._watch.alarm is not None:
                    break
                for symbol in SYMBOLS:
                    for second in range(300):
                        side.on_close(symbol, NOW_S + 1 + number + second, 100.0 if second < 299 else 100.05)
            assert side._watch is not None
            assert side._watch.alarm is not None
            await side._act_on_alarm()
            assert (live.registry.find(ref).stage(WORLD) == "demoted") is may
            assert (live.swap.serving.refs == ()) is may
