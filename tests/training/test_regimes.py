"""Regimes are known at the time, cut in thirds, and free of the hour's own level."""

from __future__ import annotations

import numpy as np
import pytest

from crypy.domain.errors import DataError
from crypy.models.hindcast import Hindcast
from crypy.training.regimes import UNKNOWN, regimes

DAY_S = 86_400
STEP_S = 1_800


def cast(days: int, seed: int, start_s: int = 1_735_689_600) -> Hindcast:
    """Scales with a strong time of day and a slow regime; one horizon."""
    origins_s = start_s + STEP_S * np.arange(days * DAY_S // STEP_S, dtype=np.int64)
    rng = np.random.default_rng(seed)
    slow = np.repeat(rng.normal(size=days), DAY_S // STEP_S)
    scale = np.exp(-6.0 + 2.0 * np.sin(2 * np.pi * origins_s / DAY_S) + 0.3 * slow)[:, None]
    return Hindcast(origins_s, np.array([300.0]), np.zeros_like(scale), scale, scale * 0, scale * 0 + 4)


def test_a_history_cuts_thirds_that_do_not_follow_the_hour() -> None:
    history = cast(200, 1)
    judged = cast(200, 2, int(history.origins_s[-1]) + STEP_S)
    labels = regimes(judged, history)[:, 0]
    assert np.bincount(labels) / len(labels) == pytest.approx([1 / 3] * 3, abs=0.08)
    hours = judged.origins_s // 3_600 % 24
    shares = [np.mean(labels[hours == hour] == 2) for hour in range(24)]
    assert max(shares) - min(shares) < 0.1


def test_without_history_nothing_that_comes_later_matters() -> None:
    whole = cast(60, 3)
    rows = len(whole.origins_s) // 2
    half = Hindcast(
        whole.origins_s[:rows],
        whole.horizons_s,
        *(getattr(whole, name)[:rows] for name in ("returns", "scale", "skew", "tail")),
    )
    labels = regimes(whole)
    assert (labels[:rows] == regimes(half)).all()
    assert (labels[: 14 * 48] == UNKNOWN).all()
    assert (labels[14 * 48 :] != UNKNOWN).all()


def test_a_history_that_reaches_into_the_range_is_refused() -> None:
    with pytest.raises(DataError, match="ends before"):
        regimes(cast(20, 1), cast(20, 2))
