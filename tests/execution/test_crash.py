"""kill -9 in the middle, again and again: nothing lost, nothing doubled, ledger equals venue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = Path(__file__).with_name("crash_rounds.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_thirty_kills_in_a_row_leave_the_account_whole(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, str(ROUNDS), str(tmp_path), str(seed), "15"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] >= 8
    assert told["answered"] >= 20
