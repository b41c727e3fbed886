"""The simulated Polymarket's markets: how they are priced, quoted, traded and settled, without servers."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.durations import Duration
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, previous_window, window_at
from crypy.simulator.polymarket_book import WHOLE, UpBook
from crypy.simulator.polymarket_exchange import PolymarketExchange, SimEvent, SimMarket
from crypy.simulator.polymarket_fair import chance_of_up, outcome_of, statistic_at
from crypy.simulator.polymarket_listing import Listing, listing_of, past_window, slug_for
from crypy.simulator.polymarket_maker import COARSE, FINE, MakerRules, believed, ladders
from crypy.simulator.polymarket_wire import price_text, size_text
from crypy.testing.clock import ManualClock
from crypy.testing.path_world import Path, PathWorld, wandering

START_S = 1_767_103_350
FLAT = 100.0
VOLATILITY = 1e-4


def flat(_: float) -> float:
    return FLAT


def jump_at(time_s: float, after: float) -> Path:
    return lambda t: after if t >= time_s else FLAT


def world_at(now_s: float, path: Path = flat, first_us: int = 0) -> tuple[PathWorld, ManualClock]:
    clock = ManualClock(round(now_s * US_PER_S))
    return PathWorld(clock, {"BTC": path}, VOLATILITY, first_us), clock


def market_of(duration: Duration, at_s: float = START_S) -> Listing:
    return listing_of(7, "BTC", window_at(duration, round(at_s * US_PER_S)))


# ---- what a market is worth


@pytest.mark.parametrize("left_s", [240.0, 90.0, 61.0])
@pytest.mark.parametrize("ahead", [-2.0, -0.5, 0.0, 0.3, 1.5])
def test_the_chance_agrees_with_drawn_paths(left_s: float, ahead: float) -> None:
    """20,000 Brownian paths in steps of a second, averaged over the last 60: no formula in common."""
    listing = market_of("5m")
    seen_s = listing.window.end_s - left_s
    strike = FLAT * math.exp(-ahead * VOLATILITY * math.sqrt(left_s))
    world, _ = world_at(seen_s)
    told = chance_of_up(world, listing, strike, round(seen_s * US_PER_S))
    rng = np.random.default_rng(1)
    paths = FLAT * np.exp(np.cumsum(rng.normal(0.0, VOLATILITY, (20_000, round(left_s))), axis=1))
    drawn = float(np.mean(paths[:, -60:].mean(axis=1) >= strike))
    assert told == pytest.approx(drawn, abs=0.015)


@pytest.mark.parametrize("left_s", [45.0, 20.0, 5.0])
def test_inside_the_last_minute_the_past_part_counts(left_s: float) -> None:
    listing = market_of("5m")
    end_s = listing.window.end_s
    seen_s = end_s - left_s
    # The price jumped half a minute before the end: the average still remembers.
    world, _ = world_at(seen_s, jump_at(end_s - 30.0, FLAT * 1.002))
    past = [FLAT if end_s - 60 + k + 0.5 < end_s - 30 else FLAT * 1.002 for k in range(60 - round(left_s))]
    price = world.mid("BTC", round(seen_s * US_PER_S))
    assert price is not None
    strike = FLAT * 1.0008
    rng = np.random.default_rng(2)
    future = price * np.exp(np.cumsum(rng.normal(0.0, VOLATILITY, (20_000, round(left_s))), axis=1))
    drawn = float(np.mean((sum(past) + future.sum(axis=1)) / 60.0 >= strike))
    assert chance_of_up(world, listing, strike, round(seen_s * US_PER_S)) == pytest.approx(drawn, abs=0.03)


def test_a_decided_average_is_certain() -> None:
    listing = market_of("5m")
    seen_us = (listing.window.end_s - 1) * US_PER_S
    world, _ = world_at(listing.window.end_s - 1)
    assert chance_of_up(world, listing, FLAT * 0.99, seen_us) == pytest.approx(1.0)
    assert chance_of_up(world, listing, FLAT * 1.01, seen_us) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("duration", ["5m", "15m", "1h", "4h", "1d"])
def test_a_window_that_has_not_begun_is_even(duration: Duration) -> None:
    world, clock = world_at(START_S)
    listing = listing_of(7, "BTC", next_window(window_at(duration, clock.now_us())))
    assert chance_of_up(world, listing, None, clock.now_us()) == 0.5


@pytest.mark.parametrize("duration", ["1h", "1d"])
def test_point_markets_use_all_the_time_that_is_left(duration: Duration) -> None:
    listing = market_of(duration)
    seen_s = listing.window.end_s - 1_000
    world, _ = world_at(seen_s)
    left_s = 1_000 + listing.lag_s
    strike = FLAT * math.exp(-VOLATILITY * math.sqrt(left_s))
    # One standard deviation ahead: 0.8413 of a normal.
    assert chance_of_up(world, listing, strike, seen_s * US_PER_S) == pytest.approx(0.8413, abs=1e-3)


# ---- how it ends


@given(st.floats(50, 150), st.floats(50, 150), st.sampled_from(["5m", "1h", "1d"]))
def test_the_higher_value_wins_and_ties_go_by_the_rule(strike: float, final: float, duration: Duration) -> None:
    listing = market_of(duration)
    expected = "up" if final > strike else "down" if final < strike else ("half" if duration == "1d" else "up")
    assert outcome_of(listing, strike, final) == expected
    assert outcome_of(listing, strike, strike) == ("half" if duration == "1d" else "up")


def test_each_duration_settles_on_its_own_statistic() -> None:
    """A price that jumps half a minute before each window's end is seen in full, in half, or not yet."""
    for duration, expected in (("5m", 1.05), ("15m", 1.05), ("4h", 1.05), ("1h", 1.1), ("1d", 1.1)):
        listing = market_of(duration)  # type: ignore[arg-type]
        end_s = listing.window.end_s
        world, _ = world_at(end_s + 120, jump_at(end_s - 30.0, FLAT * 1.1))
        assert statistic_at(world, listing, end_s) == pytest.approx(FLAT * expected), duration
        assert statistic_at(world, listing, listing.window.start_s) == pytest.approx(FLAT), duration


def test_the_daily_close_is_of_the_minute_after_noon() -> None:
    listing = market_of("1d")
    end_s = listing.window.end_s
    world, _ = world_at(end_s + 120, jump_at(end_s + 30.0, FLAT * 1.1))
    assert statistic_at(world, listing, end_s) == pytest.approx(FLAT * 1.1)
    early, _ = world_at(end_s + 59)
    assert statistic_at(early, listing, end_s) is None


def exchange_at(
    now_s: float = START_S, path: Path | None = None, first_us: int = 0, seed: int = 7
) -> tuple[PolymarketExchange, ManualClock, list[SimEvent]]:
    world, clock = world_at(now_s, path or wandering(60_000.0), first_us)
    events: list[SimEvent] = []
    exchange = PolymarketExchange(world, seed, ["BTC"], on_event=events.append)
    exchange.step(clock.now_us())
    return exchange, clock, events


def market_in(exchange: PolymarketExchange, duration: Duration, at_s: float = START_S) -> SimMarket:
    window = window_at(duration, round(at_s * US_PER_S))
    found = exchange.by_slug(slug_for("BTC", window), round(at_s * US_PER_S))
    assert found is not None
    return found


async def test_a_market_lives_from_listing_to_payment() -> None:
    exchange, clock, events = exchange_at()
    market = market_in(exchange, "5m")
    window = market.listing.window
    assert market.strike == statistic_at(world_at(START_S, wandering(60_000.0))[0], market.listing, window.start_s)
    exchange.quote(market, clock.now_us())
    assert market.book.bids
    assert market.book.asks
    await clock.advance(window.end_s - START_S)
    exchange.step(clock.now_us())
    assert not market.book.bids
    assert not market.book.asks
    assert market.outcome is None, "it pays later than it ends"
    exchange.quote(market, clock.now_us())
    assert not market.book.bids
    await clock.advance(61)
    exchange.step(clock.now_us())
    assert market.final is not None
    assert market.strike is not None
    assert market.outcome == ("up" if market.final >= market.strike else "down")
    assert [event.kind for event in events if event.market is market] == ["listed", "levels", "levels", "resolved"]


async def test_the_strike_is_shown_some_seconds_after_the_start_and_is_the_last_final_price() -> None:
    exchange, clock, _ = exchange_at()
    before = market_in(exchange, "5m")
    window = next_window(before.listing.window)
    await clock.advance(window.start_s - START_S)
    exchange.step(clock.now_us())
    market = market_in(exchange, "5m", window.start_s)
    assert market.strike is not None
    assert market.shown_strike(clock.now_us()) is None
    assert market.shown_strike(clock.now_us() + 21 * US_PER_S) == market.strike
    await clock.advance(61)
    exchange.step(clock.now_us())
    assert before.final == market.strike


async def test_memory_stays_flat_as_windows_pass() -> None:
    exchange, clock, _ = exchange_at()
    sizes: set[int] = set()
    for _ in range(100):
        await clock.advance(150)
        exchange.step(clock.now_us())
        sizes.add(len(list(exchange.markets())))
    assert max(sizes) <= 16


async def test_a_market_forgotten_is_worked_out_again_the_same() -> None:
    exchange, clock, _ = exchange_at()
    market = market_in(exchange, "5m")
    hour = market_in(exchange, "1h")
    await clock.advance(4 * 3_600)
    exchange.step(clock.now_us())
    await clock.advance(600)
    exchange.step(clock.now_us())
    for known in (market, hour):
        again = exchange.by_slug(known.listing.slug, clock.now_us())
        assert again is not None
        assert again is not known
        assert again.listing == known.listing
        assert (again.strike, again.outcome) == (known.strike, known.outcome)
        assert again.outcome in ("up", "down")


def test_the_same_seed_lists_the_same_markets() -> None:
    def facts(seed: int) -> list[Listing]:
        return [market.listing for market in exchange_at(seed=seed)[0].markets()]

    assert facts(7) == facts(7)
    assert {each.up_token for each in facts(7)}.isdisjoint(each.up_token for each in facts(8))


def test_a_recording_that_begins_inside_a_window_gives_it_the_first_price_as_strike() -> None:
    exchange, clock, _ = exchange_at(first_us=(START_S - 10) * US_PER_S)
    for market in exchange.markets():
        assert market.listing.window.end_us > clock.now_us(), "nobody knows how windows before it ended"
    assert market_in(exchange, "1d").strike == wandering(60_000.0)(START_S)


def test_a_name_of_the_past_is_found_and_one_of_the_future_is_not() -> None:
    now_us = START_S * US_PER_S
    for duration in ("5m", "15m", "1h", "4h", "1d"):
        window = previous_window(previous_window(window_at(duration, now_us)))  # type: ignore[arg-type]
        slug = slug_for("BTC", window)
        assert past_window(slug, "BTC", window.duration, now_us) == window
        assert past_window(slug, "ETH", window.duration, now_us) is None
    running = slug_for("BTC", window_at("5m", now_us))
    assert past_window(running, "BTC", "5m", now_us) is None
    assert past_window("btc-updown-5m-1", "BTC", "5m", now_us) is None


# ---- books and makers


@given(
    st.floats(0.0005, 0.9995),
    st.floats(1.0, 30.0),
    st.sampled_from([COARSE, FINE]),
    st.integers(0, 1 << 60),
    st.integers(0, 2 * 10**15),
)
def test_ladders_lie_on_the_grid_and_never_cross(
    probability: float, half_spread: float, tick: int, seed: int, time_us: int
) -> None:
    bids, asks = ladders(probability, half_spread, tick, seed, time_us)
    assert bids or asks
    assert all(price % tick == 0 and tick <= price <= WHOLE - tick for price in (*bids, *asks))
    assert all(size > 0 for size in (*bids.values(), *asks.values()))
    assert max(bids, default=0) < min(asks, default=WHOLE)
    if bids and asks:
        assert max(bids) <= probability * WHOLE <= min(asks)


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_following_the_changes_gives_the_book(steps: list[tuple[float, int]]) -> None:
    """Applied one by one, with no crossed book in between."""
    book, seen = UpBook(), {"BUY": dict[int, int](), "SELL": dict[int, int]()}
    for probability, time_us in steps:
        for change in book.show(*ladders(probability, 5.0, COARSE, 3, time_us)):
            side = seen[change.side]
            side[change.price] = change.size
            if not change.size:
                del side[change.price]
            assert max(seen["BUY"], default=0) < min(seen["SELL"], default=WHOLE)
        assert seen == {"BUY": book.bids, "SELL": book.asks}


@given(st.sampled_from(["BUY", "SELL"]), st.integers(1, 500_000), st.integers(1, 8))
def test_a_taker_takes_what_is_there_and_no_more(side: str, size: int, depth: int) -> None:
    book = UpBook()
    book.show(*ladders(0.5, 5.0, COARSE, 3, 0))
    ladder = book.asks if side == "BUY" else book.bids
    before = dict(ladder)
    taken = book.take(side, size, depth)  # type: ignore[arg-type]
    assert taken is not None
    assert taken.size == min(size, sum(sorted_sizes(before, side)[:depth]))
    assert sum(before.values()) - sum(ladder.values()) == taken.size
    assert taken.price == book.last_price
    assert {change.price: change.size for change in taken.changes if change.size} == {
        price: ladder[price] for price in ladder if ladder[price] != before[price]
    }


def sorted_sizes(ladder: dict[int, int], side: str) -> list[int]:
    return [ladder[price] for price in sorted(ladder, reverse=side == "SELL")]


def test_an_empty_book_gives_nothing_to_take() -> None:
    assert UpBook().take("BUY", 100, 2) is None


def test_the_makers_error_is_there_and_goes_away() -> None:
    """Sampled over a day: about seven cents at even odds, none on average, and slow."""
    rules = MakerRules()
    errors = [believed(0.5, 11, s * US_PER_S, rules.error) - 0.5 for s in range(0, 86_400, 7)]
    assert abs(np.mean(errors)) < 0.008
    assert 0.055 < np.std(errors) < 0.09
    second_by_second = [believed(0.5, 11, s * US_PER_S, rules.error) for s in range(600)]
    assert max(np.abs(np.diff(second_by_second))) < 0.02
    assert {believed(1.0, 11, 0, rules.error), believed(0.0, 11, 0, rules.error)} <= {0.9995, 0.0005}


async def test_quotes_follow_the_price_and_edges_stay_small_on_average() -> None:
    exchange, clock, _ = exchange_at()
    gaps: list[float] = []
    for _ in range(400):
        await clock.advance(2.0)
        exchange.step(clock.now_us())
        market = market_in(exchange, "15m", clock.now_us() / US_PER_S)
        exchange.quote(market, clock.now_us())
        world = PathWorld(clock, {"BTC": wandering(60_000.0)}, VOLATILITY)
        fair = chance_of_up(world, market.listing, market.strike, clock.now_us() - 400_000)
        assert fair is not None
        gaps.append((market.book.best_bid + market.book.best_ask) / 2_000 - fair)
    assert abs(np.mean(gaps)) < 0.015
    assert 0.005 < np.std(gaps) < 0.1


async def test_takers_come_now_and_then() -> None:
    exchange, clock, events = exchange_at()
    market = market_in(exchange, "1d")
    for _ in range(600):
        await clock.advance(1.0)
        exchange.quote(market, clock.now_us())
    kinds = Counter(event.kind for event in events)
    assert 40 < kinds["trade"] < 150
    assert kinds["book"] == kinds["trade"]
    sides = Counter(event.taken.side for event in events if event.taken is not None)
    assert min(sides["BUY"], sides["SELL"]) > 10


async def test_the_grid_turns_fine_once_and_stays() -> None:
    path = jump_at(START_S + 5, FLAT * 1.05)
    exchange, clock, events = exchange_at(path=lambda t: FLAT if t > START_S + 60 else path(t))
    market = market_in(exchange, "5m")
    for _ in range(20):
        exchange.quote(market, clock.now_us())
        await clock.advance(5.0)
    assert market.tick == FINE
    assert [event.kind for event in events].count("tick") == 1


@pytest.mark.parametrize(
    ("thousandths", "text"),
    [(1, "0.001"), (10, "0.01"), (500, "0.5"), (503, "0.503"), (990, "0.99"), (1000, "1"), (0, "0")],
)
def test_prices_are_written_as_the_venue_writes_them(thousandths: int, text: str) -> None:
    assert price_text(thousandths) == text
    assert Decimal(text) * 1_000 == thousandths


@given(st.integers(1, 10**9))
def test_sizes_are_written_exactly(hundredths: int) -> None:
    assert Decimal(size_text(hundredths)) * 100 == hundredths
    assert not size_text(hundredths).endswith((".0", "."))


def test_names_agree_with_the_venues_examples() -> None:
    assert slug_for("BTC", Window(1773307200, 1773307500, "5m")) == "btc-updown-5m-1773307200"
    evening = window_at("1h", 1_790_118_000 * US_PER_S - 3_600 * US_PER_S)
    assert slug_for("BTC", evening) == "bitcoin-up-or-down-september-22-2026-6pm-et"
    midnight = window_at("1h", 1_790_913_600 * US_PER_S)
    assert slug_for("ETH", midnight) == "ethereum-up-or-down-october-2-2026-12am-et"
    assert slug_for("BTC", window_at("1d", 1_791_129_600 * US_PER_S)) == "bitcoin-up-or-down-on-october-5-2026"
