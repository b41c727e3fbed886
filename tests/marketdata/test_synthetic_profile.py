"""Profiles: readable, checked whole, and each part can be left out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_profile import PARTS, Factor, default_profile, market_profile, read_profile

FIRST = 20_100


def test_a_profile_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "laws.json"
    default_profile().write(path)
    assert read_profile(path) == default_profile()
    assert read_profile(path).fingerprint() == default_profile().fingerprint()
    assert json.loads(path.read_text())["coins"][0]["symbol"] == "BTCUSDT"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(part: str) -> None:
    coins = ("BTC", "ETH")
    whole, less = market_profile(coins), market_profile(coins).without((part,))
    market = SyntheticMarket(3, coins, FIRST, 1_000.0, profile=less, days_kept=1)
    truth = market.truth(FIRST)
    if part == "volatility":
        assert len(truth.shared.law) == len(truth.own.law) == 0
    if part in ("regimes", "bursts"):
        assert ("only",) in market.states
    if part == "jumps":
        assert not truth.jump.any()
        assert not truth.jump_chance.any()
    if part == "season":
        assert less.season is None
    if part == "correlation":
        assert abs(np.corrcoef(np.diff(truth.log_mid, axis=1))[0, 1]) < 0.05
    assert whole.fingerprint() != less.fingerprint() or part == "halts"


def test_all_parts_at_once_leave_a_plain_walk() -> None:
    plain = market_profile(("BTC",)).without(PARTS)
    truth = SyntheticMarket(3, ("BTC",), FIRST, 1_000.0, profile=plain).truth(FIRST)
    assert np.ptp(truth.scale) == 0.0
    assert truth.scale[0, 0] == pytest.approx(plain.coins[0].daily_volatility / 86_400**0.5)


def test_what_cannot_be_is_said_in_one_message(tmp_path: Path) -> None:
    base = default_profile()
    with pytest.raises(ConfigError, match=r"a factor of memory 0\.1 .* tail 2 swinging"):
        msgspec.structs.replace(base, shared=(Factor(0.1, 0.2),), tail=2.0)
    with pytest.raises(ConfigError, match="only shared ones"):
        msgspec.structs.replace(base, own=(Factor(7_200.0, 0.2, -0.5),))
    with pytest.raises(ConfigError, match="nine tenths"):
        SyntheticMarket(
            1, ("BTC",), profile=msgspec.structs.replace(base.of(("BTC",)), jumps=msgspec.structs.replace(base.jumps, size=2.5))
        )  # fmt: skip
    with pytest.raises(ConfigError, match="turbulence"):
        base.without(("turbulence",))
    with pytest.raises(ConfigError, match="DOGE"):
        base.of(("DOGE",))
    for text, error in (("{", "not JSON"), ('{"tail": 3}', "not a profile"), ("[]", "not a profile")):
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(DataError, match=error):
            read_profile(path)
    with pytest.raises(DataError, match="no such profile"):
        read_profile(tmp_path / "absent.json")
    wrong = json.loads(msgspec.json.encode(base))
    wrong["halts"]["per_day"] = -1.0
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises((ConfigError, DataError), match="per_day in 0"):
        read_profile(tmp_path / "wrong.json")
    short = json.loads(msgspec.json.encode(base))
    short["season"]["minutes"] = [0.0]
    (tmp_path / "short.json").write_text(json.dumps(short))
    with pytest.raises(DataError, match="60 minutes"):
        read_profile(tmp_path / "short.json")
