"""What the venue's metadata mean, on real markets and on each way in which they can fail to say."""

from __future__ import annotations

import csv
import gzip
import json
from bisect import bisect_left
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypy.domain.errors import Unreadable
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.settlement import Settlement, decide_outcome
from crypy.domain.windows import Window
from crypy.venues.polymarket.messages import ClobMarket, GammaEvent, GammaMarket
from crypy.venues.polymarket.metadata import prediction_market, with_clob_parameters, with_tick_size

TWAP_TEXT = (
    'This market will resolve to "Up" if the Bitcoin price at the end of the time range specified in the title is greater '
    'than or equal to the price at the beginning of that range. Otherwise, it will resolve to "Down".'
)
HOUR_TEXT = (
    'This market will resolve to "Up" if the close price is greater than or equal to the open price for the BTC/USDT 1 hour '
    'candle that begins on the time and date specified in the title. Otherwise, this market will resolve to "Down".'
)
# Wording until the end of September 2026, and since 2026-10-02.
DAY_TEXT = (
    'This market will resolve to "Up" if the "Close" price for the Binance 1 minute candle for BTC/USDT Oct 4 \'26 12:00 in '
    'the ET timezone (noon) is lower than the final "Close" price for the Oct 5 \'26 12:00 ET candle. If the final "Close" '
    "price for both of these candles is exactly equal on Binance, this market will resolve 50-50."
)
DAY_TEXT_SINCE_OCTOBER = (
    'This market will resolve to "Up" if the "Close" price for the Binance 1 minute candle for BTC/USDT closing at 12:00 in '
    'the ET timezone (noon) on Oct 4 \'26 is lower than the final "Close" price for the candle closing at 12:00 ET on Oct 5 '
    '\'26. If the final "Close" price for both of these candles is exactly equal on Binance, this market will resolve 50-50.'
)
TWAP = {"id": "btc-5m-twap-60", "asset": "btc", "duration": "5m", "twapEnabled": True, "twapLookbackSeconds": 60}


def five_minutes(**changes: Any) -> dict[str, Any]:
    """A market of the autumn of 2026, as Gamma tells it."""
    told = {
        "slug": "btc-updown-5m-1788709200",
        "conditionId": "0xabc",
        "eventStartTime": "2026-09-06T15:40:00Z",
        "startDate": "2026-09-05T13:08:35.302901Z",
        "endDate": "2026-09-06T15:45:00Z",
        "outcomes": '["Up", "Down"]',
        "outcomePrices": '["0.505", "0.495"]',
        "clobTokenIds": '["111", "222"]',
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "negRisk": False,
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
        "description": TWAP_TEXT,
        "resolutionSource": "https://data.chain.link/streams/btc-usd-twap-60s-streams",
        "cryptoMarketConfig": TWAP,
    }
    return told | changes


def hour(**changes: Any) -> dict[str, Any]:
    told = {
        "slug": "bitcoin-up-or-down-september-6-2026-9am-et",
        "eventStartTime": "2026-09-06T13:00:00Z",
        "endDate": "2026-09-06T14:00:00Z",
        "description": HOUR_TEXT,
        "resolutionSource": "https://www.binance.com/en/trade/BTC_USDT",
        "cryptoMarketConfig": None,
    }
    return five_minutes(**(told | changes))


def day(text: str) -> dict[str, Any]:
    return five_minutes(
        slug="bitcoin-up-or-down-on-october-5-2026",
        eventStartTime="2026-10-04T16:00:00Z",
        endDate="2026-10-05T16:00:00Z",
        description=text,
        resolutionSource="https://www.binance.com/en/trade/BTC_USDT",
        cryptoMarketConfig=None,
    )


def read(told: dict[str, Any], **event: Any) -> PredictionMarket:
    market = msgspec.json.decode(json.dumps(told), type=GammaMarket)
    around = msgspec.json.decode(json.dumps({"slug": told["slug"], **event}), type=GammaEvent)
    return prediction_market(around, market, simulated=False)


def test_a_market_of_today_is_read_whole() -> None:
    market = read(five_minutes(), eventMetadata={"priceToBeat": 79697.53425227966})
    assert market.coin == "BTC"
    assert market.window == Window(1788709200, 1788709500, "5m")
    assert market.settlement == Settlement("average", "chainlink", lookback_s=60)
    assert market.fees == FeeSchedule(Decimal("0.07"), Decimal(1), taker_only=True, rebate_rate=Decimal("0.2"))
    assert market.up.base == "111"
    assert market.up.tick_size == Decimal("0.01")
    assert market.up.min_quantity == 5
    assert market.accepting_orders
    assert market.price_to_beat == 79697.53425227966
    assert market.outcome is None
    assert market.link == "https://polymarket.com/event/btc-updown-5m-1788709200"


def test_what_the_venue_leaves_empty_is_nothing_said() -> None:
    silent = dict.fromkeys(
        ("description", "resolutionSource", "acceptingOrders", "negRisk", "outcomePrices", "startDate")
    )
    market = read(five_minutes(**silent), eventMetadata={"priceToBeat": None}, startTime=None)
    assert market.settlement is None
    assert not market.accepting_orders
    assert market.price_to_beat is None


@pytest.mark.parametrize(
    ("told", "price"), [("65000.5", 65000.5), (65000.5, 65000.5), ("soon", None), (0, None), (-1, None), ("nan", None)]
)
def test_the_price_to_beat_is_a_price_or_nothing(told: object, price: float | None) -> None:
    assert read(five_minutes(), eventMetadata={"priceToBeat": told}).price_to_beat == price


def test_tokens_are_told_apart_by_label_and_not_by_place() -> None:
    market = read(five_minutes(outcomes='["Down", "Up"]'))
    assert (market.up.base, market.down.base) == ("222", "111")


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        (five_minutes(), Settlement("average", "chainlink", lookback_s=60)),
        (
            five_minutes(
                resolutionSource="https://data.chain.link/streams/btc-usd-twap-30s-streams",
                cryptoMarketConfig=TWAP | {"twapLookbackSeconds": 30},
            ),
            Settlement("average", "chainlink", lookback_s=30),
        ),
        (
            five_minutes(resolutionSource="https://data.chain.link/streams/btc-usd", cryptoMarketConfig=None),
            Settlement("point", "chainlink"),
        ),
        (hour(), Settlement("candle", "binance")),
        (day(DAY_TEXT), Settlement("closes", "binance", tie="half", lag_s=60)),
        (day(DAY_TEXT_SINCE_OCTOBER), Settlement("closes", "binance", tie="half", lag_s=0)),
    ],
)
def test_the_rule_is_read_from_the_metadata(told: dict[str, Any], rule: Settlement) -> None:
    assert read(told).settlement == rule


@pytest.mark.parametrize(
    "told",
    [
        five_minutes(description=""),
        five_minutes(description=TWAP_TEXT.replace("greater than or equal to", "greater than")),
        five_minutes(resolutionSource=""),
        five_minutes(resolutionSource="https://data.chain.link/streams/eth-usd-twap-60s-streams"),
        five_minutes(resolutionSource="https://data.chain.link/streams/btc-usd-median-60s"),
        # The stream's address and the configuration disagree.
        five_minutes(cryptoMarketConfig=TWAP | {"twapLookbackSeconds": 30}),
        five_minutes(cryptoMarketConfig=TWAP | {"twapEnabled": False}),
        five_minutes(cryptoMarketConfig=TWAP | {"asset": "eth"}),
        five_minutes(cryptoMarketConfig=TWAP | {"duration": "15m"}),
        # A five-minute market on a candle, an hourly one on another pair or a shorter candle.
        five_minutes(description=HOUR_TEXT, resolutionSource="https://www.binance.com/en/trade/BTC_USDT"),
        hour(description=HOUR_TEXT.replace("BTC/USDT", "ETH/USDT")),
        hour(description=HOUR_TEXT.replace("1 hour", "15 minute")),
        hour(resolutionSource="https://www.coinbase.com/price/bitcoin"),
        day(DAY_TEXT.replace("50-50", "up")),
        day(DAY_TEXT.replace("12:00", "11:59")),
        day(DAY_TEXT.replace("1 minute", "1 hour")),
    ],
)
def test_a_rule_that_is_not_fully_understood_is_none(told: dict[str, Any]) -> None:
    assert read(told).settlement is None


@pytest.mark.parametrize(
    "told",
    [
        five_minutes(outcomes='["Yes", "No"]'),
        five_minutes(outcomes='["Up", "Up"]'),
        five_minutes(clobTokenIds='["111", "111"]'),
        five_minutes(clobTokenIds='["111"]'),
        five_minutes(clobTokenIds='["111", "0xab"]'),
        five_minutes(clobTokenIds="nothing"),
        five_minutes(eventStartTime="yesterday"),
        # The listing time is not the window's start, and the window must be the one of the name.
        five_minutes(eventStartTime="2026-09-05T13:08:35.302901Z"),
        five_minutes(eventStartTime="2026-09-06T15:35:00Z", endDate="2026-09-06T15:40:00Z"),
        five_minutes(endDate="2026-09-06T15:50:00Z"),
        five_minutes(orderPriceMinTickSize=None),
        five_minutes(orderPriceMinTickSize=0),
        five_minutes(orderMinSize=None),
        five_minutes(slug="will-it-rain"),
    ],
)
def test_metadata_that_contradict_themselves_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(told)


def test_the_second_of_two_hours_of_one_name_is_its_own_window() -> None:
    told = {"slug": "bitcoin-up-or-down-november-1-2026-1am-et"}
    first = read(hour(**told, eventStartTime="2026-11-01T05:00:00Z", endDate="2026-11-01T06:00:00Z"))
    second = read(hour(**told, eventStartTime="2026-11-01T06:00:00Z", endDate="2026-11-01T07:00:00Z"))
    assert first.window.end_s == second.window.start_s
    with pytest.raises(Unreadable):
        read(hour(**told, eventStartTime="2026-11-01T07:00:00Z", endDate="2026-11-01T08:00:00Z"))


@pytest.mark.parametrize(
    ("prices", "closed", "outcome"),
    [
        ('["1", "0"]', True, "up"),
        ('["0", "1"]', True, "down"),
        ('["0.5", "0.5"]', True, "half"),
        ('["1", "0"]', False, None),
        ('["0.9995", "0.0005"]', True, None),
        ('["0.6", "0.4"]', True, None),
        ('["1", "1"]', True, None),
        ('["x", "y"]', True, None),
        ("[]", True, None),
    ],
)
def test_an_outcome_is_only_what_was_paid(prices: str, closed: bool, outcome: str | None) -> None:
    assert read(five_minutes(outcomePrices=prices, closed=closed)).outcome == outcome


@pytest.mark.parametrize(
    "changes",
    [
        {"closed": True},
        {"active": False},
        {"acceptingOrders": False},
        {"enableOrderBook": False},
        # Signed for another exchange contract, which crypy does not do.
        {"negRisk": True},
    ],
)
def test_orders_are_accepted_only_where_everything_says_so(changes: dict[str, Any]) -> None:
    assert not read(five_minutes(**changes)).accepting_orders


def test_silence_about_fees_is_not_a_fee_of_zero() -> None:
    assert read(five_minutes(feeSchedule=None, feesEnabled=True)).fees is None
    assert read(five_minutes(feeSchedule=None, feesEnabled=None)).fees is None
    assert read(five_minutes(feeSchedule=None, feesEnabled=False)).fees == FeeSchedule(Decimal(0), Decimal(1))


def parameters(**changes: Any) -> ClobMarket:
    told = {"c": "0xABC", "itode": True, "ao": True, "fd": {"r": 0.07, "e": 1, "to": True}}
    return msgspec.json.decode(json.dumps(told | changes), type=ClobMarket)


def test_the_order_book_tells_whether_takers_are_held_back() -> None:
    market = read(five_minutes())
    assert with_clob_parameters(market, parameters()).taker_delay_us == 150_000
    assert with_clob_parameters(market, parameters(itode=False)).taker_delay_us == 0
    assert not with_clob_parameters(market, parameters(ao=False)).accepting_orders


@pytest.mark.parametrize(
    "fees", [{"r": 0.072, "e": 1, "to": True}, {"r": 0.07, "e": 2}, {"r": 0.07, "e": 1, "to": False}]
)
def test_two_different_fees_are_no_known_fee(fees: dict[str, Any]) -> None:
    assert with_clob_parameters(read(five_minutes()), parameters(fd=fees)).fees is None
    assert with_clob_parameters(read(five_minutes()), parameters(fd=None)).fees is not None


def test_parameters_of_another_market_are_refused() -> None:
    with pytest.raises(Unreadable, match="0xabc"):
        with_clob_parameters(read(five_minutes()), parameters(c="0xdef"))


def test_a_new_tick_size_is_both_tokens() -> None:
    market = with_tick_size(read(five_minutes()), Decimal("0.001"))
    assert market.up.tick_size == market.down.tick_size == Decimal("0.001")


def test_the_recorded_market_of_march_is_read(shared_data: Path) -> None:
    told = (shared_data / "payloads/polymarket/nautilus_crates/gamma_market.json").read_bytes()
    event = msgspec.json.decode(told, type=dict[str, Any])["events"][0]
    market = prediction_market(
        msgspec.convert(event, GammaEvent), msgspec.json.decode(told, type=GammaMarket), simulated=False
    )
    assert market.window == Window(1773307200, 1773307500, "5m")
    assert market.settlement == Settlement("point", "chainlink")
    # It says that there are fees and not which.
    assert market.fees is None


def recorded_day(shared_data: Path) -> list[PredictionMarket]:
    folder = shared_data / "polymarket/btc_5m_2026-07-24"
    with gzip.open(folder / "BTC-5m-markets-2026-07-24.jsonl.gz", "rt") as lines:
        raws = [json.loads(line)["raw"] for line in lines]
    return [read(raw) for raw in raws]


def test_all_292_recorded_markets_are_read(shared_data: Path) -> None:
    markets = recorded_day(shared_data)
    assert len(markets) == 292
    assert {market.settlement for market in markets} == {Settlement("point", "chainlink")}
    assert {market.fees for market in markets} == {
        FeeSchedule(Decimal("0.07"), Decimal(1), taker_only=True, rebate_rate=Decimal("0.2"))
    }
    assert {market.up.tick_size for market in markets} == {Decimal("0.01"), Decimal("0.001")}
    assert [market.window.start_s for market in markets] == list(range(1784850900, 1784850900 + 292 * 300, 300))
    assert sum(market.outcome == "up" for market in markets) == 140
    assert sum(market.outcome == "down" for market in markets) == 152
    assert not any(market.accepting_orders for market in markets)


def test_the_rule_read_gives_the_outcomes_of_the_recorded_day(shared_data: Path) -> None:
    folder = shared_data / "polymarket/btc_5m_2026-07-24"
    with gzip.open(folder / "BTCUSD-prices-2026-07-24.csv.gz", "rt") as lines:
        rows = [(int(row["feed_ts_ms"]), float(row["value"])) for row in csv.DictReader(lines)]
    times = [time for time, _ in rows]

    def price_at(time_s: int) -> float | None:
        place = bisect_left(times, time_s * 1_000)
        return rows[place][1] if place < len(rows) and times[place] == time_s * 1_000 else None

    right = decided = 0
    for market in recorded_day(shared_data):
        assert market.settlement is not None
        start, end = price_at(market.window.start_s), price_at(market.window.end_s)
        if start is not None and end is not None:
            decided += 1
            right += decide_outcome(start, end, market.settlement) == market.outcome
    assert (right, decided) == (256, 256)
