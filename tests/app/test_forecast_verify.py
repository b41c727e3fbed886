"""Recorded facts against the venue's candles: what agrees, what differs, what the venue does not have."""

from __future__ import annotations

from crypy.app.forecast.verify import compare
from crypy.domain.events import Candle
from crypy.forecasting.direction.facts import fact_of
from crypy.forecasting.direction.matching import Key

START_S = 1_735_689_600
CLOSES = [100.0, 101.0, 101.0, 99.5, 99.0, 99.25]


class Shelf:
    """A `CandleSource` of some closes."""

    venue = "shelf"
    intervals_s = (60,)

    def __init__(self, closes: dict[int, float]) -> None:
        self.closes = closes
        self.asked: list[tuple[str, int, int, int]] = []

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        self.asked.append((symbol, interval_s, start_us, end_us))
        return tuple(
            Candle(
                symbol,
                (START_S + 60 * at) * 1_000_000,
                (START_S + 60 * at + 60) * 1_000_000,
                close,
                close,
                close,
                close,
                1.0,
                True,
            )
            for at, close in sorted(self.closes.items())
        )


FACTS = {
    Key("BTCUSDT", "1m"): [
        fact_of("BTCUSDT", 60, START_S + 60 * at, CLOSES[at - 1], CLOSES[at]) for at in range(1, len(CLOSES))
    ]
}


async def test_facts_that_the_venue_tells_alike_pass() -> None:
    shelf = Shelf(dict(enumerate(CLOSES)))
    found = await compare(FACTS, shelf)
    assert (found.venue, found.checked, found.differing) == ("shelf", 5, ())
    assert shelf.asked == [("BTCUSDT", 60, START_S * 1_000_000, (START_S + 360) * 1_000_000)]


async def test_a_close_that_is_another_concerns_both_facts_and_may_turn_one() -> None:
    found = await compare(FACTS, Shelf(dict(enumerate(CLOSES)) | {2: 101.5}))
    assert [(one.candle, one.turned) for one in found.differing] == [
        ("2025-01-01T00:02:00Z", True),
        ("2025-01-01T00:03:00Z", False),
    ]
    assert found.differing[0].recorded == (101.0, 101.0)
    assert found.differing[0].venue == (101.0, 101.5)


async def test_a_candle_that_the_venue_does_not_have_is_told() -> None:
    known = dict(enumerate(CLOSES))
    del known[5]
    found = await compare(FACTS, Shelf(known))
    assert [(one.venue, one.turned) for one in found.differing] == [((99.0, None), True)]
