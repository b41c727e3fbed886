"""The trial ledger: every trial of tuning and every look at an evaluation range is counted, for ever.

Who tries a hundred settings and reports the best has found luck as well as skill; `deflation` takes the luck out, and needs the
true number. So a trial is written down before it begins: one that was killed, pruned or failed has been tried too. The same model on
the same data over the same range tells nothing new, and counts once.

One JSON line per event in `models/trials.jsonl` of the data folder, appended and flushed to disk under a lock that other processes
see. A last line that a crash has torn belongs to a trial that had not begun, and is cut off before the next line is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.ports import Clock
from crypy.marketdata.trade_locks import waiting_lock
from crypy.runtime.durable import append_line, whole_lines

FILE: Final = "trials.jsonl"

What = Literal["trial", "look"]
State = Literal["begun", "done", "pruned", "failed"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried, on which data: settings of a kind on folds inside a range (`trial`), or a model on an evaluation range (`look`).

    `settings` is a fingerprint of the settings, or of the model that is looked at; `data` is `Dataset.fingerprint()`. `study` says for whom,
    and is no part of what makes two trials the same.
    """

    what: What
    kind: str
    settings: str
    data: str
    start_s: int
    end_s: int
    study: str = ""

    def id(self) -> str:
        """Equal for equal trials: 32 hexadecimal digits of a SHA-256."""
        parts = (self.what, self.kind, self.settings, self.data, self.start_s, self.end_s)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One trial as the ledger knows it: when it was first begun, how often, how it ended last and with which score (`None` for none)."""

    trial: Trial
    first_us: int
    times: int
    state: State
    score: float | None


class _Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun", tag_field="event"):
    at_us: int
    id: str
    trial: Trial


class _Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="event"):
    at_us: int
    id: str
    state: State
    score: float | None


# Made before any thread needs it: see `marketdata.trade_files`.
_LINE: Final[msgspec.json.Decoder[_Begun | _Ended]] = msgspec.json.Decoder(_Begun | _Ended)


class TrialLedger:
    """Plain calls that block. Several processes may write at once."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / FILE
        self._clock = clock

    def begin(self, trial: Trial) -> str:
        """Write down that it is tried, before it is; the id is for `end`. Raises `ConfigError` for an empty range."""
        if trial.start_s >= trial.end_s:
            raise ConfigError(f"a trial needs a range, got seconds {trial.start_s} to {trial.end_s}")
        self._append(_Begun(at_us=self._clock.now_us(), id=trial.id(), trial=trial))
        return trial.id()

    def end(self, trial_id: str, state: State, score: float | None) -> None:
        """How it went; a score that is no finite number is none."""
        finite = score if score is not None and abs(score) < float("inf") else None
        self._append(_Ended(at_us=self._clock.now_us(), id=trial_id, state=state, score=finite))

    def entries(self) -> tuple[Entry, ...]:
        """All trials, each once, in the order in which they were first begun. Raises `DataError` naming a damaged line."""
        found: dict[str, Entry] = {}
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                event = _LINE.decode(line)
            except msgspec.DecodeError as error:
                raise DataError(
                    f"{self.path}: line {number} is damaged ({error}); mend it by hand, the count of trials rests on it"
                ) from error
            match event:
                case _Begun():
                    before = found.get(event.id)
                    first_us, times = (event.at_us, 0) if before is None else (before.first_us, before.times)
                    state, score = ("begun", None) if before is None else (before.state, before.score)
                    found[event.id] = Entry(
                        trial=event.trial, first_us=first_us, times=times + 1, state=state, score=score
                    )
                case _Ended():
                    if event.id not in found:
                        raise DataError(f"{self.path}: line {number} ends trial {event.id}, which no line began")
                    found[event.id] = msgspec.structs.replace(found[event.id], state=event.state, score=event.score)
        return tuple(found.values())

    def count(self, start_s: int, end_s: int, what: What | None = None) -> int:
        """How many different trials (or only looks) have seen any second of `[start_s, end_s)`."""
        return sum(
            1
            for entry in self.entries()
            if entry.trial.start_s < end_s and start_s < entry.trial.end_s and what in (None, entry.trial.what)
        )

    def _append(self, event: _Begun | _Ended) -> None:
        with waiting_lock(self.path.with_name(f"{self.path.name}.lock")):
            append_line(self.path, msgspec.json.encode(event))


def settings_fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 over settings as JSON with sorted keys. `Any`: whatever JSON can say."""
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()
