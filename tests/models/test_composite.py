"""A composite answers row by row with its members' own bits, live, in hindcasts, and after it was saved and loaded."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.models.artefact import CARD, read_card
from crypy.models.composite import Composite
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_baseline
from crypy.models.hindcast import hindcasts, one_by_one
from crypy.models.loading import load
from crypy.models.volatility import VolatilityBaseline

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
START_S = 1_735_689_600
HORIZONS_S = np.array([60.0, 300.0, 3_600.0, 86_400.0])


def minutes(symbol: str, seed: int, count: int = 20_000) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.standard_t(4, count) * 3e-4))
    ones = np.ones(count)
    return Bars(symbol, START_S, 60, close, close, close, close, ones, close, ones.astype(np.int64), 0.5 * ones)


BARS = {symbol: minutes(symbol, seed) for seed, symbol in enumerate(SYMBOLS)}
DATASET = Dataset.of(BARS, START_S + 11 * 86_400, spacing_s=3_600)
FITTED = fit_baseline({symbol: BARS[symbol] for symbol in SYMBOLS[:2]})
PRIOR = VolatilityBaseline.prior(SYMBOLS, 60)
MEMBERS = {"BTCUSDT": FITTED, "SOLUSDT": PRIOR, "ETHUSDT": FITTED}


def test_each_row_is_the_member_s_own() -> None:
    model = Composite(MEMBERS)
    origins_s = DATASET.origins_s()[:5]
    windows = DATASET.windows(model.schema, origins_s)
    for at in range(len(origins_s)):
        grid = model.predict(windows[at], HORIZONS_S)
        assert grid.symbols == ("BTCUSDT", "SOLUSDT", "ETHUSDT")
        for row, symbol in enumerate(grid.symbols):
            own = MEMBERS[symbol].predict(DATASET.windows(MEMBERS[symbol].schema, origins_s)[at], HORIZONS_S)
            there = own.symbols.index(symbol)
            for name in ("scale", "skew", "tail"):
                assert getattr(grid, name)[row].tolist() == getattr(own, name)[there].tolist()
            assert grid.history_s[row] == own.history_s[there]


def test_the_fast_hindcast_is_predict_bit_for_bit() -> None:
    model = Composite(MEMBERS)
    fast, slow = hindcasts(model, DATASET, HORIZONS_S), one_by_one(model, DATASET, HORIZONS_S)
    assert set(fast) == set(MEMBERS)
    for symbol, cast in fast.items():
        assert cast.scale.tolist() == slow[symbol].scale.tolist()
        assert cast.tail.tolist() == slow[symbol].tail.tolist()


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    model = Composite(MEMBERS)
    for _ in range(2):
        model.save(tmp_path / "both")
    again = load(tmp_path / "both")
    assert again.schema == model.schema
    card = read_card(tmp_path / "both")
    assert (card.kind, card.fit_end_s) == ("composite", FITTED.record.end_s)
    window = DATASET.windows(model.schema, DATASET.origins_s()[:1])[0]
    assert again.predict(window, HORIZONS_S).scale.tolist() == model.predict(window, HORIZONS_S).scale.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both"]


def test_a_part_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    Composite(MEMBERS).save(tmp_path / "both")
    VolatilityBaseline.prior(SYMBOLS[:2], 60).save(tmp_path / "both" / "part-0")
    with pytest.raises(DataError, match="part-0"):
        load(tmp_path / "both")
    (tmp_path / "both" / "part-1" / CARD).unlink()
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="is not a model artefact"):
        Composite(MEMBERS).save(tmp_path / "other")


def test_parts_and_card_have_to_name_the_same(tmp_path: Path) -> None:
    Composite(MEMBERS).save(tmp_path / "both")
    card = read_card(tmp_path / "both")
    assert set(card.parts) == {"part-0", "part-1"}
    fewer = msgspec.structs.replace(card, settings=dict.fromkeys(card.settings, "part-0"))
    (tmp_path / "both" / CARD).write_bytes(msgspec.json.encode(fewer))
    with pytest.raises(DataError, match="has the parts part-0, its card names"):
        Composite.load(tmp_path / "both")


def test_members_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="one base step"):
        Composite({"BTCUSDT": FITTED, "SOLUSDT": VolatilityBaseline.prior(("SOLUSDT",), 1)})
    with pytest.raises(ConfigError, match="of SOLUSDT"):
        Composite({"SOLUSDT": FITTED})
    with pytest.raises(ConfigError, match="at least one"):
        Composite({})
    model = Composite(MEMBERS)
    with pytest.raises(SchemaMismatch):
        model.predict(DATASET.windows(FITTED.schema, DATASET.origins_s()[:1])[0], HORIZONS_S)
