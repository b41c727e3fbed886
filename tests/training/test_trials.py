"""The trial ledger: everything that was tried is counted, once, and no crash makes it forget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError
from crypy.testing.clock import ManualClock
from crypy.training.trials import Trial, TrialLedger, settings_fingerprint

DAY_S = 86_400


def trial(
    settings: str = "a", *, what: str = "trial", start_day: int = 0, end_day: int = 10, study: str = "one"
) -> Trial:
    return Trial(
        what=what, kind="k", settings=settings, data="d", start_s=start_day * DAY_S, end_s=end_day * DAY_S, study=study
    )


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(tmp_path / "models", ManualClock(1_000))


def test_a_trial_counts_from_its_beginning_whatever_becomes_of_it(ledger: TrialLedger) -> None:
    for name, state, score in (("a", "done", 0.1), ("b", "pruned", -0.1), ("c", "failed", None)):
        ledger.end(ledger.begin(trial(name)), state, score)
    ledger.begin(trial("d"))
    assert [(entry.state, entry.score) for entry in ledger.entries()] == [
        ("done", 0.1), ("pruned", -0.1), ("failed", None), ("begun", None),
    ]  # fmt: skip
    assert ledger.count(0, 10 * DAY_S) == 4


def test_the_same_trial_again_counts_once_for_whomever_it_is(ledger: TrialLedger) -> None:
    ledger.begin(trial("a", study="one"))
    ledger.begin(trial("a", study="two"))
    (entry,) = ledger.entries()
    assert (entry.times, ledger.count(0, DAY_S)) == (2, 1)


def test_a_look_at_the_same_range_is_another_thing_than_a_trial_there(ledger: TrialLedger) -> None:
    ledger.begin(trial("a"))
    ledger.begin(trial("a", what="look"))
    assert ledger.count(0, DAY_S) == 2
    assert ledger.count(0, DAY_S, "look") == 1


def test_a_range_counts_what_has_seen_any_second_of_it(ledger: TrialLedger) -> None:
    ledger.begin(trial("a", start_day=0, end_day=10))
    ledger.begin(trial("b", start_day=9, end_day=20))
    assert ledger.count(10 * DAY_S, 20 * DAY_S) == 1
    assert ledger.count(10 * DAY_S - 1, 20 * DAY_S) == 2
    assert ledger.count(20 * DAY_S, 30 * DAY_S) == 0


def test_scores_that_are_no_numbers_are_none(ledger: TrialLedger) -> None:
    for name, score in (("a", float("nan")), ("b", float("-inf"))):
        ledger.end(ledger.begin(trial(name)), "failed", score)
    assert [entry.score for entry in ledger.entries()] == [None, None]


def test_a_trial_without_a_range_is_refused_before_anything_is_written(ledger: TrialLedger) -> None:
    with pytest.raises(ConfigError, match="needs a range"):
        ledger.begin(trial("a", start_day=3, end_day=3))
    assert not ledger.path.exists()


def test_a_damaged_line_is_named_and_not_passed_over(ledger: TrialLedger) -> None:
    ledger.begin(trial("a"))
    ledger.begin(trial("b"))
    lines = ledger.path.read_bytes().split(b"\n")
    ledger.path.write_bytes(b"\n".join([lines[0][:-5], *lines[1:]]))
    with pytest.raises(DataError, match="line 1 is damaged"):
        ledger.count(0, DAY_S)


def test_a_line_that_ends_what_never_began_is_refused(ledger: TrialLedger) -> None:
    ledger.path.parent.mkdir()
    ledger.end("0" * 32, "done", 1.0)
    with pytest.raises(DataError, match="which no line began"):
        ledger.entries()


@settings(max_examples=40)
@given(cut=st.integers(0, 3_000))
def test_a_crash_at_any_byte_loses_no_trial_that_was_under_way(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = TrialLedger(folder, ManualClock(1_000))
    for name in "abc":
        ledger.end(ledger.begin(trial(name)), "done", 1.0)
    content = ledger.path.read_bytes()
    kept = content[: min(cut, len(content))]
    ledger.path.write_bytes(kept)
    whole = kept.split(b"\n")[:-1]
    begun = sum(b'"begun"' in line for line in whole)
    assert len(ledger.entries()) == begun
    ledger.begin(trial("after"))
    assert len(ledger.entries()) == begun + 1
    assert ledger.path.read_bytes().split(b"\n")[:-2] == whole


def test_settings_are_told_apart_whatever_the_order_of_their_names() -> None:
    assert settings_fingerprint({"a": 1, "b": [2, 3]}) == settings_fingerprint({"b": [2, 3], "a": 1})
    assert settings_fingerprint({"a": 1}) != settings_fingerprint({"a": 2})


@pytest.mark.slow
def test_several_processes_write_at_once_and_no_line_is_lost(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom crypy.runtime.clocks import SystemClock\n"
        "from crypy.training.trials import Trial, TrialLedger\n"
        "ledger = TrialLedger(Path(sys.argv[1]), SystemClock())\n"
        "for n in range(40):\n"
        "    trial = Trial(what='trial', kind='k', settings=f'{sys.argv[2]}-{n}', data='d', start_s=0, end_s=1)\n"
        "    ledger.end(ledger.begin(trial), 'done', n / 7)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    entries = TrialLedger(tmp_path, ManualClock(0)).entries()
    assert {entry.trial.settings for entry in entries} == {f"{name}-{n}" for name in "abc" for n in range(40)}
    assert all(entry.state == "done" for entry in entries)
