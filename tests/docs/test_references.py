"""The references are whole and true: commands, settings, names, columns and tables are those of the program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from decimal import Decimal
from typing import Any, get_type_hints

import msgspec
import pytest
from docs_kit import DOCS, PAGES, ROOT, blocks, code_spans, generator, section, table_rows
from typer.main import get_command

import crypy
from crypy.app.agents import _TURNABLE
from crypy.app.settings import checked
from crypy.app.trading_settings import TradingSettings
from crypy.app.world import WorldCard
from crypy.cli.main import app
from crypy.domain.reports import (
    Account,
    CandleMark,
    Counters,
    DirectionCounts,
    DirectionForecast,
    DirectionOutcome,
    DirectionReport,
    DistributionRow,
    MarketRow,
    MemberWeight,
    ReliabilityBin,
    Snapshot,
    SymbolRow,
)
from crypy.forecasting.direction.records import CandleRecord, FactRecord, PredictionRecord
from crypy.ledger import schema
from crypy.marketdata.trade_bars import _COLUMNS as BAR_COLUMNS
from crypy.marketdata.trade_files import _SCHEMA as TRADE_SCHEMA
from crypy.models.artefact import Card
from crypy.prediction_markets.plans import Reason
from crypy.simulator import binance_archive, binance_rest, binance_stream
from crypy.simulator.bybit_server import BYBIT_TARGETS
from crypy.simulator.faults import KINDS
from crypy.simulator.polymarket_server import POLYMARKET_TARGETS
from crypy.simulator.settings import Ready

REFERENCE = DOCS / "reference"
COMMANDS = list(generator().commands(get_command(app)))
FILES = (REFERENCE / "files.md").read_text("utf-8")
SETTINGS = (REFERENCE / "settings.md").read_text("utf-8")


def test_the_page_of_commands_is_the_programs_own() -> None:
    written = (REFERENCE / "cli.md").read_text("utf-8")
    assert written == generator().page(), "run `python docs/reference/generate.py`"


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_and_option_says_what_it_is(path: tuple[str, ...], command: Any) -> None:
    assert command.help, f"{' '.join(path)} has no help"
    for parameter in generator().parameters(command):
        assert parameter.help, f"{' '.join(path)}: {parameter.opts[0]} has no help"


def test_help_of_a_real_process_shows_what_the_page_shows() -> None:
    for path in (("crypy", "up"), ("crypy", "data", "bars")):
        shown = subprocess.run(
            [sys.executable, "-m", *path, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        command = next(command for known, command in COMMANDS if known == path)
        for parameter in generator().parameters(command):
            assert parameter.opts[0] in shown


@pytest.mark.parametrize("name", get_type_hints(TradingSettings))
def test_every_setting_is_on_its_page_with_its_default(name: str) -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in table_rows(section(SETTINGS, f"## [{name}]"))}
    documented.pop("setting", None)
    section_now = getattr(TradingSettings(), name)
    actual = {field: _toml(getattr(section_now, field)) for field in section_now.__struct_fields__}
    assert documented == actual


def test_no_section_is_documented_that_does_not_exist() -> None:
    headings = [line[4:-1] for line in SETTINGS.splitlines() if line.startswith("## [")]
    assert sorted(headings) == sorted(get_type_hints(TradingSettings))


def test_settings_shown_on_pages_are_taken() -> None:
    shown = [(path, code) for path in PAGES for kind, code, _ in blocks(path.read_text("utf-8")) if kind == "toml"]
    assert shown
    for path, code in shown:
        checked(tomllib.loads(code), str(path), TradingSettings)


def test_every_public_name_is_documented() -> None:
    page = (REFERENCE / "python.md").read_text("utf-8")
    documented = {row[0].strip("`") for row in table_rows(page)} - {"name"}
    assert documented == set(crypy.__all__)
    for name in crypy.__all__:
        assert getattr(crypy, name) is not None


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("## Trades", TRADE_SCHEMA.names),
        ("## Second bars", BAR_COLUMNS),
        ("## Model artefacts", list(Card.__struct_fields__)),
        ("## World", WorldCard.__struct_fields__),
        ("## Snapshot", Snapshot.__struct_fields__),
        ("## Snapshot", MarketRow.__struct_fields__),
        ("## Snapshot", SymbolRow.__struct_fields__),
        ("## Snapshot", Counters.__struct_fields__),
        ("## Snapshot", Account.__struct_fields__),
        ("## Snapshot", DistributionRow.__struct_fields__),
        ("## Snapshot", DirectionReport.__struct_fields__),
        ("## Snapshot", CandleMark.__struct_fields__),
        ("## Snapshot", DirectionOutcome.__struct_fields__),
        ("## Snapshot", DirectionForecast.__struct_fields__),
        ("## Snapshot", DirectionCounts.__struct_fields__),
        ("## Snapshot", ReliabilityBin.__struct_fields__),
        ("## Snapshot", MemberWeight.__struct_fields__),
        ("## Direction forecasts", CandleRecord.__struct_fields__),
        ("## Direction forecasts", PredictionRecord.__struct_fields__),
        ("## Direction forecasts", FactRecord.__struct_fields__),
        ("## The simulator's ready line", Ready.__struct_fields__),
    ],
)
def test_every_column_and_field_is_documented(heading: str, names: Any) -> None:
    known = set(code_spans(section(FILES, heading)))
    assert [name for name in names if name not in known] == []


@pytest.mark.parametrize("table", schema.metadata.tables.values(), ids=lambda table: table.name)
def test_every_table_and_column_of_the_ledger_is_documented(table: Any) -> None:
    rows = {row[0].strip("`"): row[1] for row in table_rows(section(FILES, "## Ledger"))}
    assert table.name in rows
    known = set(code_spans(rows[table.name]))
    assert [column.name for column in table.columns if column.name not in known] == []


def test_every_event_of_the_log_is_documented() -> None:
    known = set(code_spans(section(FILES, "## Log")))
    said = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'\blog\.(?:info|warning|error|exception)\(\s*"([a-z_.]+)"', path.read_text("utf-8"))
    }
    assert said
    assert sorted(said - known) == []


def test_every_fault_and_target_is_documented() -> None:
    page = (DOCS / "how-to.md").read_text("utf-8")
    known = set(code_spans(section(page, "## Make a venue misbehave")))
    targets = {binance_archive.TARGET, binance_rest.TARGET, binance_stream.TARGET, *POLYMARKET_TARGETS, *BYBIT_TARGETS}
    assert sorted((KINDS | targets) - known) == []


def test_every_reason_to_wait_is_documented() -> None:
    page = (DOCS / "explanation" / "life-of-an-order.md").read_text("utf-8")
    known = set(code_spans(page))
    assert [kind.__name__ for kind in Reason.__args__ if kind.__name__ not in known] == []


def test_every_limit_of_the_review_is_documented() -> None:
    page = (DOCS / "explanation" / "life-of-an-order.md").read_text("utf-8")
    assert [name for name in TradingSettings().limits.__struct_fields__ if name not in code_spans(page)] == []


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(list(value))
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(msgspec.to_builtins(value))


def test_every_agent_and_knob_is_on_the_terminals_page() -> None:
    page = (REFERENCE / "terminal.md").read_text("utf-8")
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src" / "crypy").rglob("*.py"))
    agents = set(re.findall(r'\bAgent\(\s*"(\w+)"', sources))
    assert {"engines", "desk", "model"} <= agents
    assert sorted(agents - set(code_spans(page))) == []
    assert [name for name in _TURNABLE if name not in page] == []
