"""Which bars and horizons a verb of `crypy model` gets from files: the usual ones suit bars of any step, others have to fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.models.dataset import HORIZONS_S, SPACING_S, Dataset
from crypy.models.volatility import VolatilityBaseline

START_S = parse_time_us("2025-01-01") // US_PER_S
DAYS = 6


def candles(folder: Path, step_s: int) -> Place:
    """Candles of one coin, and where they are."""
    rng = np.random.default_rng(1)
    n = DAYS * DAY_S // step_s
    close = 100.0 * np.exp(np.cumsum(1e-3 * rng.normal(size=n)))
    opened = np.concatenate(([100.0], close[:-1]))
    times = (START_S + step_s * np.arange(n)) * 1_000
    rows = zip(times, opened, np.maximum(opened, close), np.minimum(opened, close), close, strict=True)
    lines = [f"{t},{o:.4f},{h:.4f},{low:.4f},{c:.4f},1" for t, o, h, low, c in rows]
    (folder / f"SOLUSDT_{step_s // 60}m.csv").write_text("\n".join(["open_time,open,high,low,close,volume", *lines]))
    return Place(folder / "data", None, source=folder)


def dataset(place: Place, **how: object) -> Dataset:
    return dataset_of(place, "SOLUSDT", "", "", **how)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("step_s", "spacing_s", "horizons_s"),
    [(60, SPACING_S, HORIZONS_S), (900, 900, HORIZONS_S[1:]), (3_600, 3_600, HORIZONS_S[2:]), (14_400, 14_400, HORIZONS_S[3:])],
)  # fmt: skip
def test_the_usual_horizons_are_those_that_the_bars_can_have(
    tmp_path: Path, step_s: int, spacing_s: int, horizons_s: tuple[int, ...]
) -> None:
    found = dataset(candles(tmp_path, step_s))
    assert (found.step_s, found.spacing_s, found.horizons_s) == (step_s, spacing_s, horizons_s)
    assert np.isfinite(found.returns("SOLUSDT", found.origins_s()[1:9], np.array(horizons_s))).all()


def test_horizons_and_spacings_that_are_named_have_to_fit(tmp_path: Path) -> None:
    place = candles(tmp_path, 900)
    assert dataset(place, horizons_s=(900, 1_800), spacing_s=1_800).horizons_s == (900, 1_800)
    with pytest.raises(ConfigError, match=r"bars of 900 s, .* horizons 300, 900 s"):
        dataset(place, horizons_s=(300, 900))
    with pytest.raises(ConfigError, match=r"bars of 900 s, .* got spacing 600 s"):
        dataset(place, spacing_s=600)


def test_a_history_is_cut_before_a_named_end_alone(tmp_path: Path) -> None:
    place = candles(tmp_path, 900)
    end_s = START_S + 4 * DAY_S
    short = dataset_of(place, "SOLUSDT", "", iso(end_s * US_PER_S), history_s=DAY_S).bars["SOLUSDT"]
    whole = dataset_of(place, "SOLUSDT", "", iso(end_s * US_PER_S)).bars["SOLUSDT"]
    assert (short.start_s, short.end_s) == (end_s - DAY_S, end_s)
    assert short.close.tobytes() == whole.close[-len(short) :].tobytes()
    # More than there is, and an end that nobody named: all of it.
    longer = dataset_of(place, "SOLUSDT", "", iso(end_s * US_PER_S), history_s=9 * DAY_S)
    assert longer.bars["SOLUSDT"].start_s == START_S
    assert dataset(place, history_s=DAY_S).bars["SOLUSDT"].start_s == START_S


def test_ranges_that_the_data_do_not_reach_are_told_where_they_begin_and_end(tmp_path: Path) -> None:
    place = candles(tmp_path, 900)
    with pytest.raises(ConfigError, match=r"between 2025-01-01\S+ and 2024-12-01\S+: the data begin 2025-01-01"):
        dataset_of(place, "SOLUSDT", "", "2024-12-01")
    with pytest.raises(ConfigError, match=r"between 2025-03-01\S+ and 2025-01-07\S+: the data end 2025-01-07"):
        dataset_of(place, "SOLUSDT", "2025-03-01", "")


def test_bars_too_long_for_a_model_are_refused_by_their_lengths(tmp_path: Path) -> None:
    found = dataset(candles(tmp_path, 900))
    schema = VolatilityBaseline.prior(("SOLUSDT",), 60).schema
    with pytest.raises(ConfigError, match="bars of 900 s cannot give a sequence of 60 s"):
        found.windows(schema, found.origins_s()[-1:])
