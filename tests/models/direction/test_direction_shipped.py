"""The direction models that crypy ships: small, found by the registry, served without JAX, and silent about what they cannot know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from direction_market_kit import SYMBOLS, walk

from crypy.domain.times import US_PER_S, parse_time_us
from crypy.models.artefact import read_card
from crypy.models.direction.loading import load_member
from crypy.models.direction.market import Market
from crypy.training.registry import SHIPPED, Registry

NAMES = {
    "direction-1m": 60, "direction-5m": 300, "direction-15m": 900, "direction-60m": 3_600,
    "direction-logistic-5m": 300, "direction-logistic-15m": 900, "direction-logistic-60m": 3_600,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_small_and_knows_where_its_data_end(name: str) -> None:
    folder = SHIPPED / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    card = read_card(folder)
    kind = "direction-logistic" if "logistic" in name else "direction-network"
    assert (card.kind, card.task, card.runtime) == (kind, "direction", "numpy")
    assert (card.schema.symbols, card.schema.base_step_s) == (SYMBOLS, NAMES[name])
    # What lies behind is left for judging.
    assert card.fit_end_s == parse_time_us("2025-07-01") // US_PER_S
    assert {metric.symbol for metric in card.metrics} == set(SYMBOLS)


def test_the_registry_has_them_and_stages_have_nothing_to_do_with_them(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name, timeframe_s in NAMES.items():
        (found,) = (one for one in registry.direction_members(SYMBOLS, timeframe_s) if one.name == name)
        assert (found.ref, found.is_shipped, found.stages) == (f"{name}:0", True, {})
        assert registry.load_member(found).timeframe_s == timeframe_s
    assert [one.ref for one in registry.deployed("live")] == ["minutes:0"]


def test_they_speak_as_soon_as_they_are_warm() -> None:
    market = Market.of(walk(9_000))
    members = [load_member(SHIPPED / name) for name in NAMES]
    for member in members:
        member.prepare(market)
    for member in members:
        needed: int = member.rows_needed  # pyright: ignore[reportAttributeAccessIssue]  all kinds have it
        assert needed < 7 * 1_440
        told = member.ask(market, np.array([needed - 2, needed - 1, market.rows - 1]))
        assert np.isnan(told.p_up[0]).all()
        assert np.isfinite(told.p_up[1:]).all()
        assert np.isfinite(told.p_down[1:]).all()


def test_serving_them_needs_no_jax() -> None:
    code = (
        "import sys; from pathlib import Path; from crypy.models.direction.loading import load_member;"
        f"[load_member(Path({str(SHIPPED)!r}) / name) for name in {list(NAMES)}];"
        "assert not {'jax', 'equinox', 'optax', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
