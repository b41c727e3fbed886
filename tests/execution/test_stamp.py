"""Stamps: what they allow, and that nothing else passes for one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from door_kit import KEY, request
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crypy.domain.errors import ConfigError
from crypy.execution.limits import Refused
from crypy.execution.stamp import Stamp, Stamped, StampIssuer, sign, verify
from crypy.ledger.values import Listing, StampUse
from crypy.testing.clock import ManualClock

D = Decimal
CLOCK = ManualClock()
LISTING = Listing(venue="pm", symbol="m:up", kind="outcome", asset="m:up", cash="pUSD")


def issue(**changes: Any) -> Stamp:
    values: dict[str, Any] = {
        "trader": "t", "pair": "m:up", "side": "buy", "strategy": "s", "amount": D(20), "lifetime_s": 60.0,
    }  # fmt: skip
    return StampIssuer("paper", KEY, CLOCK).issue(**(values | changes))


def look(stamp: Stamp | None, used: str = "0", late_s: int = 0, key: bytes = KEY, **order: Any) -> Stamped | Refused:
    asked = request("c", **({"side": "buy", "quantity": "20", "price": "0.50"} | order))
    return verify(asked, LISTING, stamp, key, D(used), CLOCK.now_us() + late_s * 1_000_000)


def test_a_stamp_lets_its_order_in_and_notes_what_it_takes() -> None:
    stamp = issue()
    answer = look(stamp)
    assert isinstance(answer, Stamped)
    assert answer.no_entry is None
    assert answer.use == StampUse(stamp.nonce, D(10), stamp.expires_us)


@pytest.mark.parametrize(
    ("changes", "value"),
    [("account", "other"), ("trader", "x"), ("pair", "m:down"), ("side", "sell"), ("strategy", "x"), ("amount", D(21)), ("expires_us", 1), ("nonce", "n")],
)  # fmt: skip
def test_a_changed_stamp_is_false(changes: str, value: Any) -> None:
    answer = look(replace(issue(), **{changes: value}))
    assert isinstance(answer, Refused)
    assert "not signed" in answer.reason


def test_a_stamp_of_another_process_is_false() -> None:
    assert isinstance(look(issue(), key=b"another key"), Refused)


@pytest.mark.parametrize("order", [{"symbol": "m:down"}, {"side": "sell"}, {"strategy": "other"}, {"account": "b"}])
def test_a_stamp_for_something_else_is_refused(order: dict[str, Any]) -> None:
    answer = look(issue(), **order)
    assert isinstance(answer, Refused)
    assert "is for" in answer.reason


@pytest.mark.parametrize(
    ("stamp", "used", "late_s", "words"),
    [(None, "0", 0, "no stamp"), (issue(), "0", 60, "expired"), (issue(), "10.01", 0, "is used")],
)
def test_absent_expired_and_used_up_stamps_allow_no_entry(
    stamp: Stamp | None, used: str, late_s: int, words: str
) -> None:
    answer = look(stamp, used, late_s)
    assert isinstance(answer, Stamped)
    assert answer.use is None
    assert answer.no_entry is not None
    assert words in answer.no_entry.reason


def test_a_stamp_holds_to_its_last_cent_and_moment() -> None:
    answer = look(issue(), "10.00", 59)
    assert isinstance(answer, Stamped)
    assert answer.no_entry is None


def test_no_nonce_comes_twice() -> None:
    issuer = StampIssuer("paper", KEY, CLOCK)
    nonces = {issuer.issue("t", "m:up", "buy", "s", D(1), 1.0).nonce for _ in range(100)}
    assert len(nonces) == 100


@pytest.mark.parametrize("lifetime_s", [0, -1, 4 * 86_400])
def test_lifetimes_are_bounded(lifetime_s: float) -> None:
    with pytest.raises(ConfigError, match="a stamp for"):
        issue(lifetime_s=lifetime_s)


@given(st.text(), st.text())
def test_fields_cannot_be_shifted_into_each_other(trader: str, pair: str) -> None:
    one = replace(issue(), trader=trader + pair, pair="")
    other = replace(one, trader=trader, pair=pair)
    assert (sign(one, KEY) == sign(other, KEY)) == (pair == "")
