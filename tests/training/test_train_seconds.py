"""A network on second bars out of memory-mapped files, from the synthetic market: the whole way, trades to artefact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trainer_kit import CHANNELS, small_network, small_trainer

from crypy.app.data.synthetic import Wanted, simulate
from crypy.domain.times import parse_time_us
from crypy.marketdata.audit import audit
from crypy.marketdata.mapped_bars import update_mapped_bars
from crypy.marketdata.schema import Block
from crypy.marketdata.store import TradeStore
from crypy.marketdata.synthetic_profile import default_profile
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.testing.clock import ManualClock
from crypy.training.network_fitting import fit_network

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_days_of_seconds_train_a_network(tmp_path: Path) -> None:
    wanted = Wanted(",".join(SYMBOLS), 7, "2025-01-06", "2025-01-08", 40_000.0, tmp_path / "market", "")
    simulate(default_profile(), wanted, tmp_path, None)
    store = TradeStore(tmp_path / "market")
    for symbol in SYMBOLS:
        assert not audit(store, "binance", symbol, ManualClock(parse_time_us("2027-01-01"))).bad
    mapped = {symbol: update_mapped_bars(store, symbol) for symbol in SYMBOLS}
    start_s = min(one.start_s for one in mapped.values())
    dataset = Dataset.of_mapped(mapped, start_s + 7 * 3_600, spacing_s=20, horizons_s=(5, 60, 300))
    blocks = (Block(1, 32, CHANNELS), Block(32, 32, CHANNELS), Block(1_024, 16, CHANNELS))
    network = small_network(blocks=blocks, knots_s=(1.0, 5.0, 60.0, 300.0, 900.0))
    # Windows are made batch by batch: nothing is kept of them.
    trainer = small_trainer(
        durations_s=(5, 60, 300), duration_weights=(1.0, 1.0, 1.0), epochs=2, batch=256, keep_mb=0, learning_rate=1e-3
    )
    model = fit_network(dataset, network=network, trainer=trainer)
    assert model.schema.base_step_s == 1
    assert {(one.symbol, one.horizon_s) for one in model.record.metrics} == {
        (symbol, horizon) for symbol in SYMBOLS for horizon in (5.0, 60.0, 300.0)
    }
    gains = [gain for own in model.record.settings["held_out_gain"].values() for gain in own.values()]
    assert np.mean(gains) > -0.002
    horizons_s = np.array([1.0, 2.0, 5.0, 77.0, 300.0, 86_400.0])
    last = dataset.between(dataset.end_s - 600, dataset.end_s)
    for cast in hindcasts(model, last, horizons_s).values():
        assert np.isfinite(cast.scale).all()
        assert (np.diff(cast.scale, axis=1) >= 0).all()
