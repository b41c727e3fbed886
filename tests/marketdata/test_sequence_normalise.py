"""Statistics of raw sequences, fitted once and applied by a pure function."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from trade_sets import START_S, random_bars

from crypy.domain.errors import Incomplete, SchemaMismatch
from crypy.marketdata.normalise import Statistics, fit, normalise
from crypy.marketdata.schema import Block, FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import feature_sequence

SCHEMA = FeatureSchema(
    ("BTCUSDT", "ETHUSDT"), 1, (Block(1, 20, ("returns", "volume")), Block(8, 5, ("volume",))), allow_missing=True
)


def sequences(count: int, unknown: int = 0) -> list[FeatureSequence]:
    bars = {
        "BTCUSDT": random_bars("BTCUSDT", START_S, 900, seed=1),
        "ETHUSDT": random_bars("ETHUSDT", START_S, 900, seed=2, unknown=unknown),
    }
    return [feature_sequence(bars, START_S + 50 + 13 * k, SCHEMA) for k in range(count)]


def test_statistics_are_mean_and_deviation_of_the_known_cells() -> None:
    seen = sequences(30, unknown=100)
    statistics = fit(seen)
    for symbol in range(2):
        for block in range(2):
            cells = np.concatenate([s.values[block][symbol][s.known[block][symbol]] for s in seen])
            np.testing.assert_allclose(statistics.mean[block][symbol], cells.mean(axis=0), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(statistics.deviation[block][symbol], cells.std(axis=0), rtol=1e-12)


def test_normalised_cells_have_mean_zero_and_deviation_one_and_unknown_ones_are_zero() -> None:
    seen = sequences(30, unknown=100)
    statistics = fit(seen)
    scaled = [normalise(s, statistics) for s in seen]
    cells = np.concatenate([s.values[0][1][s.known[0][1]] for s in scaled])
    np.testing.assert_allclose(cells.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(cells.std(axis=0), 1, rtol=1e-12)
    assert not scaled[0].values[0][~scaled[0].known[0]].any()
    assert scaled[0].clocks is seen[0].clocks


def test_a_channel_that_never_varies_is_centred_and_not_divided_by_zero() -> None:
    schema = FeatureSchema(("BTCUSDT",), 1, (Block(1, 5, ("returns",)),))
    flat = random_bars("BTCUSDT", START_S, 50, seed=1)
    flat.close[:] = 7.0
    flat.high[:] = flat.low[:] = 7.0
    sequence = feature_sequence({"BTCUSDT": flat}, START_S + 50, schema)
    statistics = fit([sequence])
    assert statistics.deviation == (((1.0,),),)
    assert not normalise(sequence, statistics).values[0].any()


def test_statistics_survive_a_file_to_the_last_bit() -> None:
    statistics = fit(sequences(5))
    assert msgspec.json.decode(msgspec.json.encode(statistics), type=Statistics) == statistics


def test_foreign_layouts_and_missing_data_are_refused() -> None:
    other = feature_sequence(
        {"BTCUSDT": random_bars("BTCUSDT", START_S, 50, seed=1)}, START_S + 50,
        FeatureSchema(("BTCUSDT",), 1, (Block(1, 5, ("returns",)),)),
    )  # fmt: skip
    with pytest.raises(SchemaMismatch):
        fit([*sequences(1), other])
    with pytest.raises(SchemaMismatch):
        normalise(other, fit(sequences(2)))
    with pytest.raises(Incomplete, match="ETHUSDT"):
        fit(sequences(2, unknown=899))
    with pytest.raises(Incomplete):
        fit([])
