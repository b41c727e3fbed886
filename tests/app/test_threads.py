"""Types that threads decode are worked out before there are threads.

A run died now and then with a segmentation fault while history was loading: two threads read the first facts of the store
at once, and msgspec (0.22) let one of them use what it knew of the type before the other had written all of it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import crypy

PACKAGES = ("marketdata", "models", "ledger", "distributions", "forecasting", "execution")
SOURCES = Path(crypy.__file__).parent
MODULES = sorted(path for package in PACKAGES for path in (SOURCES / package).glob("*.py"))
BUILT_IN = {"list", "dict", "int", "float", "str", "bool", "Any"}


@pytest.mark.parametrize("path", [*MODULES, SOURCES / "simulator" / "paper_store.py"], ids=lambda path: path.stem)
def test_what_threads_decode_has_a_decoder_of_its_own(path: Path) -> None:
    for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
        wanted = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
        if ast.unparse(call.func) in ("msgspec.json.decode", "msgspec.convert") and wanted:
            names = {node.id for node in ast.walk(wanted[0]) if isinstance(node, ast.Name)}
            assert names <= BUILT_IN, (
                f"{path.name}:{call.lineno} works out {ast.unparse(wanted[0])} when it is first used"
            )
