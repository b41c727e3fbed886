"""A network's inputs, fitted: the weekly pattern of volume, and means and deviations, over the training range."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.network.inputs import Inputs, own_size
from crypy.models.network.settings import NetworkSettings
from crypy.models.season import SLOT_S, SLOTS, Season, fit_season
from crypy.models.volatility import VolatilityBaseline

Floats = NDArray[np.float64]

# Weeks of data that a slot of the volume's season needs to be believed half.
_PRIOR_WEEKS: Final = 3.0
_VOLUME_SMOOTHING_S: Final = 900.0
_MOST_ROWS: Final = 8_192
_CHUNK: Final = 1_024
_QUIET: Final = 1e-3


def fit_inputs(dataset: Dataset, baseline: VolatilityBaseline, settings: NetworkSettings) -> Inputs:
    """Seasons and statistics of the dataset's range, for the symbols of the baseline.

    Raises `ConfigError` for a symbol that the dataset lacks, `Incomplete` for one of which no two origins have their whole history.
    """
    if missing := [symbol for symbol in baseline.symbols if symbol not in dataset.symbols]:
        raise ConfigError(f"the baseline knows {', '.join(missing)}, of which the dataset has no bars")
    volume = [volume_season(dataset.bars[symbol]) for symbol in baseline.symbols]
    own = (len(baseline.symbols), own_size(settings))
    tables = {
        "volume_utc": np.stack([season.utc for season in volume]),
        "volume_new_york": np.stack([season.new_york for season in volume]),
    }
    raw = Inputs.of_arrays(baseline, settings, {**tables, "mean": np.zeros(own), "deviation": np.ones(own)})
    mean, deviation = statistics(raw, dataset)
    return Inputs.of_arrays(baseline, settings, {**tables, "mean": mean, "deviation": deviation})


def volume_season(bars: Bars) -> Season:
    """Logs of the weekly pattern of quote volume per second, its level in the UTC table."""
    long_s = max(SLOT_S, bars.step_s)
    first_s = -(-bars.start_s // long_s) * long_s
    skipped, cells = (first_s - bars.start_s) // bars.step_s, long_s // bars.step_s
    count = max(0, len(bars) - skipped) // cells
    quotes = np.asarray(bars.quote_volume[skipped : skipped + count * cells], np.float64).reshape(count, cells)
    volume = quotes.sum(axis=1) / long_s
    priced = np.isfinite(bars.close[skipped : skipped + count * cells]).reshape(count, cells).all(axis=1)
    usual = float(volume[priced].mean()) if priced.any() else 0.0
    if usual <= 0.0:
        return Season(np.zeros(SLOTS), np.zeros(SLOTS))
    logs = np.where(priced, np.log(volume / usual + _QUIET), np.nan)
    none = Season(np.zeros(SLOTS), np.zeros(SLOTS))
    spread = np.repeat(logs, long_s // SLOT_S)
    season = fit_season(spread, first_s // SLOT_S, none, _PRIOR_WEEKS, _VOLUME_SMOOTHING_S)
    return Season(season.utc + np.log(usual), season.new_york)


def statistics(inputs: Inputs, dataset: Dataset) -> tuple[Floats, Floats]:
    """Mean and deviation [symbol, own] over origins of the dataset, thinned to some thousand; a sequence's windows share them."""
    origins_s = dataset.origins_s()
    origins_s = origins_s[:: max(1, len(origins_s) // _MOST_ROWS)]
    shape = (3, len(inputs.symbols), inputs.own)
    sums = np.zeros(shape)
    for start in range(0, len(origins_s), _CHUNK):
        windows = dataset.windows(inputs.schema, origins_s[start : start + _CHUNK])
        raw = inputs.raw(windows.ends_s, windows.values)
        known = inputs.known(windows)
        for row in range(len(inputs.symbols)):
            seen = raw[known[:, row], row]
            sums[:, row] += np.stack((np.full(inputs.own, len(seen)), seen.sum(axis=0), (seen**2).sum(axis=0)))
    for symbol, rows in zip(inputs.symbols, sums[0, :, 0], strict=True):
        if rows < 2:
            raise Incomplete(
                f"{symbol}: no two origins between {iso(dataset.start_s * US_PER_S)} and {iso(dataset.end_s * US_PER_S)}"
                f" have their whole history of {inputs.schema.history_s:,} s; take a longer range or shorter blocks",
                (symbol,),
            )
    if inputs.settings.encoder != "segments":
        sums = _pooled(sums, inputs.settings)
    mean = sums[1] / sums[0]
    deviation = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0.0))
    return mean, np.where(deviation > _QUIET * np.maximum(np.abs(mean), _QUIET), deviation, 1.0)


def _pooled(sums: Floats, settings: NetworkSettings) -> Floats:
    """Each window of a block gets the sums of all its windows: a sequence is normalised by channel."""
    out = sums.copy()
    at, width = 0, len(settings.channels)
    for block in settings.blocks:
        cells = sums[..., at : at + block.length * width].reshape(*sums.shape[:-1], block.length, width)
        pooled = np.broadcast_to(cells.sum(axis=-2, keepdims=True), cells.shape)
        out[..., at : at + block.length * width] = pooled.reshape(*sums.shape[:-1], -1)
        at += block.length * width
    return out
