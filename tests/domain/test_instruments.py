from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import format_e8, parse_e8
from crypy.domain.instruments import Instrument, ceil_to, coin_of, exact, floor_to, on_grid, round_price, round_quantity

INSTRUMENT = Instrument(
    venue="binance",
    symbol="BTCUSDT",
    kind="spot",
    base="BTC",
    quote="USDT",
    settle="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
)
amounts = st.decimals(0, 10**6, places=8)


@given(amounts, st.sampled_from(["buy", "sell"]))
def test_a_rounded_price_is_on_the_grid_and_never_worse_for_us(price, side):
    rounded = round_price(price, side, INSTRUMENT)
    assert on_grid(rounded, INSTRUMENT.tick_size)
    assert rounded <= price if side == "buy" else rounded >= price
    assert abs(rounded - price) < INSTRUMENT.tick_size


@given(amounts)
def test_a_rounded_quantity_never_grows(quantity):
    rounded = round_quantity(quantity, INSTRUMENT)
    assert on_grid(rounded, INSTRUMENT.lot_size)
    assert quantity - INSTRUMENT.lot_size < rounded <= quantity


@given(amounts, st.sampled_from([Decimal("0.001"), Decimal("0.25"), Decimal(5)]))
def test_floor_and_ceiling_meet_exactly_on_the_grid(value, step):
    assert (floor_to(value, step) == ceil_to(value, step)) == on_grid(value, step)


@given(st.integers(0, 10**17))
def test_fixed_point_text_survives_both_ways(value):
    assert parse_e8(format_e8(value)) == value


@given(amounts)
def test_fixed_point_is_exact(value):
    assert Decimal(parse_e8(f"{value:f}")) == value * 10**8


@pytest.mark.parametrize("text", ["", "-1", "1e5", "nan", "1.123456789", "1,5", "٣", " 1"])
def test_what_is_no_plain_decimal_is_refused(text):
    with pytest.raises(DataError, match="decimal"):
        parse_e8(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity"])
def test_money_is_finite(text):
    with pytest.raises(ConfigError):
        exact(text)


@pytest.mark.parametrize(
    ("symbol", "coin"), [("BTCUSDT", "BTC"), ("eth/usdt", "ETH"), ("SOL-USD", "SOL"), ("ETHBTC", "ETH"), ("XRP", "XRP")]
)
def test_the_coin_behind_a_symbol(symbol, coin):
    assert coin_of(symbol) == coin
