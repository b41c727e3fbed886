"""The baseline against the true law of the synthetic market: what docs/simulation.md says of it.

`pytest tests/models/test_baseline_on_truth.py -m slow -s` prints the table.
"""

from __future__ import annotations

import numpy as np
import pytest

from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_facts import efficient_bars
from crypy.models.fitting import fit_baseline
from crypy.models.hindcast import hindcast

FIRST, HISTORY, AHEAD, SEEDS = 20_400, 10, 4, range(200, 208)
DAY_S = 86_400
HORIZONS_S = np.array([300.0, 900.0, 3_600.0, 14_400.0, 86_400.0])


@pytest.mark.slow
def test_the_baseline_s_scale_is_near_the_truth_in_every_state() -> None:
    """Ten days of seconds to fit on, four to judge, eight seeds: mean log ratio by horizon, in calm and in wild states."""
    ratios, states = (np.concatenate(parts) for parts in zip(*(of_seed(seed) for seed in SEEDS), strict=True))
    for name, rows in (
        ("all", states > 0),
        ("calm third", states < np.quantile(states, 1 / 3)),
        ("wild third", states > np.quantile(states, 2 / 3)),
    ):
        print(f"{name:<12}", np.exp(ratios[rows].mean(axis=0)).round(3))  # noqa: T201
    mean = np.abs(ratios.mean(axis=0))
    assert (mean < 0.16).all()
    assert mean.mean() < 0.09


def of_seed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    market = SyntheticMarket(seed, ("BTC", "ETH"), FIRST, 1_000.0, days_kept=20)
    bars = efficient_bars(market, FIRST, HISTORY + AHEAD, step_s=1)
    judged = (FIRST + HISTORY) * DAY_S
    model = fit_baseline(bars, FIRST * DAY_S, judged)
    origins = judged + np.arange(0, AHEAD * DAY_S - 1, 3_600)
    ratios, states = [], []
    for symbol, one in bars.items():
        ours = hindcast(model, one, origins, HORIZONS_S).scale
        true = np.array([[market.expected_scale(symbol, int(at) * 1_000_000, h) for h in HORIZONS_S] for at in origins])
        ratios.append(np.log(ours / true))
        states.append(true[:, -1] / market.coin_profile(symbol).daily_volatility)
    return np.concatenate(ratios), np.concatenate(states)
