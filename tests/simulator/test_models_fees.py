"""Fees to the last unit, and delays that come from where they should."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.domain.markets import FeeSchedule
from crypy.simulator.models.fees import BpsFee, OutcomeFee
from crypy.simulator.models.latency import FixedLatency, SampledLatency

CRYPTO = OutcomeFee(FeeSchedule(rate=Decimal("0.07"), exponent=Decimal(1)))
EARLY_2026 = OutcomeFee(FeeSchedule(rate=Decimal("0.25"), exponent=Decimal(2)))


@pytest.mark.parametrize(
    ("model", "price", "quantity", "fee"),
    [
        # 1.75 per 100 shares at 0.50 under the schedule of 2026, 1.5625 (said as 1.56) under January's.
        (CRYPTO, "0.50", "100", "1.75000"),
        (EARLY_2026, "0.50", "100", "1.56250"),
        (CRYPTO, "0.51", "25", "0.43733"),  # 0.4373250
        (CRYPTO, "0.01", "5", "0.00347"),  # 0.0034650: half up
        (CRYPTO, "0.999", "0.01", "0"),  # 0.0000006993: below 0.00001
        (CRYPTO, "0.999", "0.15", "0.00001"),  # 0.0000104895
        (CRYPTO, "0.33", "7.77", "0.12026"),  # 0.120256...
        (OutcomeFee(FeeSchedule(Decimal(0), Decimal(1))), "0.50", "100", "0"),
    ],
)
def test_fee_of_a_taker(model: OutcomeFee, price: str, quantity: str, fee: str) -> None:
    assert model.fee(Decimal(price), Decimal(quantity), "taker") == Decimal(fee)


def test_a_maker_pays_only_where_the_schedule_says_so() -> None:
    both = OutcomeFee(FeeSchedule(rate=Decimal("0.07"), exponent=Decimal(1), taker_only=False))
    assert CRYPTO.fee(Decimal("0.5"), Decimal(100), "maker") == 0
    assert both.fee(Decimal("0.5"), Decimal(100), "maker") == Decimal("1.75")


@given(st.integers(1, 999), st.integers(1, 100_000))
def test_fee_has_five_decimals_and_is_that_of_the_other_token(price: int, quantity: int) -> None:
    p, q = Decimal(price) / 1000, Decimal(quantity) / 100
    fee = CRYPTO.fee(p, q, "taker")
    assert fee == fee.quantize(Decimal("0.00001"))
    assert fee == CRYPTO.fee(1 - p, q, "taker")
    assert abs(float(fee) - float(q) * 0.07 * float(p) * (1 - float(p))) <= 1e-5


def test_flat_fee() -> None:
    fee = BpsFee(taker_bps=Decimal("10"), maker_bps=Decimal("7.5"))
    assert fee.fee(Decimal("61837.63"), Decimal("0.5"), "taker") == Decimal("30.918815")
    assert fee.fee(Decimal("61837.63"), Decimal("0.5"), "maker") == Decimal("23.18911125")


def test_measured_delays_come_again_and_the_same_seed_gives_the_same() -> None:
    def draw(seed: int) -> list[int]:
        latency = SampledLatency([1_000, 2_000, 250_000], np.random.default_rng(seed))
        return [latency.delay_us() for _ in range(300)]

    assert draw(1) == draw(1) != draw(2)
    assert set(draw(1)) == {1_000, 2_000, 250_000}
    assert FixedLatency(150_000).delay_us() == 150_000


def test_impossible_delays_are_refused() -> None:
    with pytest.raises(ConfigError, match="negative"):
        FixedLatency(-1)
    for samples in ([], [5, -5]):
        with pytest.raises(ConfigError, match="at least one"):
            SampledLatency(samples, np.random.default_rng(1))
