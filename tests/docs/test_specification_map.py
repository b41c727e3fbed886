"""The map of the specification names every name of it, and only code and tests that exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from docs_kit import DOCS, PAGES, ROOT, code_spans, named, section

PAGE = (DOCS / "specification.md").read_text("utf-8")
SPANS = {span for path in PAGES for span in code_spans(path.read_text("utf-8"))}
PACKAGES = sorted(
    path.name for path in (ROOT / "src" / "crypy").iterdir() if path.is_dir() and path.name.isidentifier()
)

NAMES = {
    "## Forecasts and prediction markets": """
        dist_params durations symbols history_start base_timestep extra_timesteps features_per_symbol returns volume
        features_per_timestep tow seq_length price ref_price dist extra_dist nexus_update_price nexus_update_dists crypto_data_sync
        crypto_data_update crypto_data_feature_sequence crypto_live_start model_load model_predict model_save model_trainer_run
        model_trainer_eval model_runner_start model_runner_tick pm_engine_start pm_engine_eval_action pm_engine_report
        pm_manager_start pm_manager_eval_actions pm_manager_report dashboard_start dashboard_snapshot dashboard_render""",
    "## Features, strategies, backtests": """
        State raw trade features Feature Feature1 Feature2 compute FeatureStore Strategy needs_update gen_signal Statistics
        Timeline TradeSystemAPI place_order cancel_order query_order OrderStatus LocalTradeSystem BinanceTradeSystem CoinName Timestamp main
        backtest TradeSystem time_pass feature_calc feature_configs timestamps""",
    "## Desks, holders, traders": """
        agents streams terminal telnet controlflow plugins logicflow pandas Order Transaction Position Desk Holder Trader stamp templates
        capabilities simulator repl MVP kraken bitmex""",
    "## Accounts, data, models, deployment": """
        secrets TPM exchange account clearance accounts backtesting risk database gaps simulate tuning CI packaging cloud
        optimization meter LSTM state""",
    "## Direction forecaster": """
        Bybit confirmed heartbeat backoff REST p_up p_down FLAT bybit_ws.py features.py model.py predictor.py recording.py main.py
        fact_movement.py candles.jsonl predictions.jsonl facts.jsonl ts_start ts_end candle_ts prev_ts close_prev close_curr delta
        ret_bps direction eval_predictions.py JAX GPU WSL2 Docker dry-run ensembles pattern""",
}


@pytest.mark.parametrize("heading", NAMES)
def test_every_name_of_the_document_is_on_the_map(heading: str) -> None:
    text = section(PAGE, heading).lower()
    missing = [name for name in NAMES[heading].split() if not re.search(rf"(?<!\w){re.escape(name.lower())}", text)]
    assert missing == []


def test_the_names_are_those_of_the_documents_themselves() -> None:
    folder = ROOT.parent / "shared" / "spec"
    if not folder.is_dir():
        pytest.skip("the specification's documents are not here")
    text = (folder / "forecasts-and-prediction-markets.md").read_text("utf-8")
    functions = set(re.findall(r"^- ([a-z_]+)\(", text, re.MULTILINE))
    assert functions
    assert functions <= set(NAMES["## Forecasts and prediction markets"].split())


@pytest.mark.parametrize(
    "name", sorted(span for span in SPANS if re.fullmatch(rf"crypy\.({'|'.join(PACKAGES)})(\.\w+)*", span))
)
def test_code_that_pages_name_exists(name: str) -> None:
    module, rest = name, list[str]()
    while not _is_module(module):
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
    found: object = importlib.import_module(module)
    for part in rest:
        # Fields of structs and protocols are known by their annotations.
        assert hasattr(found, part) or part in getattr(found, "__annotations__", {}), f"{name}: no {part}"
        found = getattr(found, part, None)


@pytest.mark.parametrize("name", sorted(span for span in SPANS if span.startswith("tests/") and "<" not in span))
def test_tests_that_pages_name_exist(name: str) -> None:
    path, _, function = name.partition("::")
    file = ROOT / path
    assert file.exists(), f"{path} does not exist"
    if function:
        assert function in _functions(file), f"{path} has no {function}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_how_the_work_is_organised_is_nobodys_business(path: Path) -> None:
    assert (
        re.findall(
            r"\b(?:issue \d+|issue tracker|ticket|sprint|TODO|the lead)\b", path.read_text("utf-8"), re.IGNORECASE
        )
        == []
    )


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _functions(file: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, kinds)}
