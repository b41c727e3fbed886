"""What a command loads. Heavy libraries come with the verb that needs them, and forecasting never brings in what can trade."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"numba", "polars", "pyarrow", "duckdb", "sqlalchemy", "aiohttp", "numpy", "starlette", "uvicorn", "picows"}
TRADING = {"crypy.execution", "crypy.ledger", "crypy.prediction_markets", "crypy.nexus", "crypy.vault"}


def loaded(program: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after a program."""
    told = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True, timeout=60.0,
    )  # fmt: skip
    return set(json.loads(told.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nsys.argv = ['crypy', '--help']\nfrom crypy.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code"
    )
    assert not loaded(program) & HEAVY


def test_importing_crypy_loads_nothing_heavy() -> None:
    modules = loaded("import crypy")
    assert "crypy" in modules
    assert not modules & HEAVY


def test_forecasting_cannot_trade_even_by_mistake() -> None:
    modules = loaded("import crypy.forecasting.runner, crypy.models.fitting, crypy.models.loading, crypy.models.volatility\n"
                     "import crypy.marketdata.crypto_data, crypy.marketdata.sync, crypy.marketdata.journal")  # fmt: skip
    assert "crypy.forecasting.runner" in modules
    found = {name for name in modules if any(name == one or name.startswith(one + ".") for one in TRADING)}
    assert not found
    assert not {name for name in modules if name.startswith("crypy.venues") and "execution" in name}


def test_the_predict_only_service_and_its_command_load_nothing_that_trades() -> None:
    """What a process has loaded when it runs for a while: `tests/app/test_forecast_run.py`."""
    modules = loaded("import crypy.cli.forecast, crypy.app.forecast.run, crypy.app.forecast.facts")
    assert {"crypy.forecasting.direction.service", "crypy.venues.bybit.feed", "crypy.dashboard.server"} <= modules
    assert not {name for name in modules if any(name == one or name.startswith(one + ".") for one in TRADING)}
    assert not {name for name in modules if name.startswith("crypy.venues") and "execution" in name}
    assert not modules & {"jax", "matplotlib", "duckdb", "pandas"}
