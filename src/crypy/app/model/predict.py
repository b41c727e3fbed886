"""What `crypy model predict` does: a model's distributions at one moment, from what was known then."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of
from crypy.app.model.named import named
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.models.dataset import Dataset
from crypy.models.kinds import Kind
from crypy.models.port import Model

SHARES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LONGEST_S: Final = 172_800


def predict(text: str, at: str, symbols: str, horizons_s: tuple[int, ...], place: Place) -> dict[str, Any]:
    """Distribution and quantiles for each symbol and horizon, as of `at` (ISO 8601 UTC; empty: where the data end). Nothing at or after it counts.

    A kind is fitted on what came before first. Raises `ConfigError` for horizons or symbols that cannot be, `Incomplete` where history is missing.
    """
    if not horizons_s or horizons_s[0] < 1 or horizons_s[-1] > _LONGEST_S:
        raise ConfigError(
            f"--horizons: from 1 s to two days are known, got {', '.join(map(str, horizons_s)) or 'none'} s"
        )
    one = named(text, place)
    wanted = tuple(symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip())
    known = wanted if isinstance(one.what, Kind) else one.what.schema.symbols
    strange = [symbol for symbol in wanted if symbol not in known]
    if strange:
        raise ConfigError(f"{one.name} knows {', '.join(known)}, not {', '.join(strange)}")
    # A model that is fitted looks at its own history alone; the day more is for prices that stood still before it.
    history_s = None if isinstance(one.what, Kind) else one.what.schema.history_s + DAY_S
    dataset = dataset_of(place, ",".join(known), "", at, history_s=history_s)
    at_s = parse_time_us(at) // US_PER_S if at else dataset.end_s
    at_s -= at_s % dataset.step_s
    _require_data(dataset, at_s)
    model: Model = one.what.fit_on(dataset) if isinstance(one.what, Kind) else one.what
    sequence = dataset.windows(model.schema, np.array([at_s], np.int64))[0]
    grid = model.predict(sequence, np.array(horizons_s, np.float64))
    chosen = wanted or grid.symbols
    return {
        "model": one.name,
        "at": iso(at_s * US_PER_S),
        "in_sample": bool(one.fit_end_s > at_s),
        "forecasts": [
            _forecast(symbol, horizon_s, float(sequence.close[model.schema.symbols.index(symbol)]), float(grid.history_s[row]), law)
            for symbol in chosen
            for row in [grid.symbols.index(symbol)]
            for column, horizon_s in enumerate(horizons_s)
            for law in [
                ZeroMeanSkewStudentT(
                    float(grid.scale[row, column]), float(grid.skew[row, column]), float(grid.tail[row, column])
                )
            ]
        ],
    }  # fmt: skip


def _require_data(dataset: Dataset, at_s: int) -> None:
    """A forecast from a moment that the data do not reach would be one from stale prices."""
    for symbol, bars in dataset.bars.items():
        if bars.end_s < at_s:
            raise ConfigError(
                f"{symbol}: the data end {iso(bars.end_s * US_PER_S)}, before {iso(at_s * US_PER_S)}; choose an earlier --at"
            )


def _forecast(symbol: str, horizon_s: int, price: float, history_s: float, law: ZeroMeanSkewStudentT) -> dict[str, Any]:
    quantiles = {f"{100 * share:g}": law.ppf(share) for share in SHARES}
    return {
        "symbol": symbol,
        "horizon_s": horizon_s,
        "price": price if price > 0.0 else None,
        "history_s": history_s,
        "scale": law.scale,
        "skew": law.skew,
        "tail": law.tail,
        "p_up": 1.0 - law.cdf(0.0),
        "return_quantiles": quantiles,
        "price_quantiles": {share: price * math.exp(value) for share, value in quantiles.items()}
        if price > 0.0
        else None,
    }
