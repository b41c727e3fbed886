"""What the store proves about a symbol's history: which ids are there, which are missing, and when nothing traded.

Ids of a symbol are consecutive at the venue, so history is whole where stored ids are consecutive. That is read
off the runs of ids that each file was found to hold when it was written, and with `verify` off the rows
themselves. A span without trades whose ids are consecutive is a pause (the exchange stood still, or nobody
traded), not a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from crypy.domain.times import iso
from crypy.marketdata.trade_facts import FileFacts, Pause

MOST_PAUSES: Final = 100


class Gap(msgspec.Struct, frozen=True):
    """Ids missing between two stored neighbours, with the times of these."""

    after_id: int
    before_id: int
    after_time_us: int
    before_time_us: int

    @property
    def missing(self) -> int:
        """How many ids are absent."""
        return self.before_id - self.after_id - 1

    def __str__(self) -> str:
        return f"{self.missing:,} trades missing after id {self.after_id} ({iso(self.after_time_us)} to {iso(self.before_time_us)})"


class Quarantined(msgspec.Struct, frozen=True):
    """A file that was not believed: where it lies now, why, and since when."""

    file: str
    reason: str
    time_us: int


# Made before any thread needs it: see `marketdata.trade_files`.
_QUARANTINED: Final = msgspec.json.Decoder(Quarantined)


class Coverage(msgspec.Struct, frozen=True):
    """What is stored of one symbol. Ids and times are `None` where nothing is; times are the least and the greatest."""

    venue: str
    symbol: str
    kind: str
    first_id: int | None
    last_id: int | None
    rows: int
    first_time_us: int | None
    last_time_us: int | None
    gaps: tuple[Gap, ...]
    pauses: tuple[Pause, ...]
    quarantined: tuple[Quarantined, ...]
    fingerprint: str

    @property
    def is_whole(self) -> bool:
        """Whether every id from the first to the last is stored."""
        return not self.gaps

    def to_json(self) -> dict[str, Any]:
        """The form that `crypy data sync|audit --json` prints for a symbol; times as ISO 8601."""
        return {
            "first_id": self.first_id,
            "last_id": self.last_id,
            "rows": self.rows,
            "first_time": None if self.first_time_us is None else iso(self.first_time_us),
            "last_time": None if self.last_time_us is None else iso(self.last_time_us),
            "gaps": [
                {
                    "after_id": gap.after_id,
                    "before_id": gap.before_id,
                    "missing": gap.missing,
                    "from": iso(gap.after_time_us),
                    "to": iso(gap.before_time_us),
                }
                for gap in self.gaps
            ],
            "quarantined": [
                {"file": file.file, "reason": file.reason, "time": iso(file.time_us)} for file in self.quarantined
            ],
            "pauses": [
                {"after_id": pause.after_id, "from": iso(pause.from_us), "to": iso(pause.to_us)}
                for pause in longest(self.pauses)
            ],
            "pauses_in_all": len(self.pauses),
            "fingerprint": self.fingerprint,
        }


def longest(pauses: Sequence[Pause]) -> list[Pause]:
    """The longest of them, `MOST_PAUSES` at most, in order of time: a thin symbol pauses all day."""
    return sorted(
        sorted(pauses, key=lambda pause: pause.from_us - pause.to_us)[:MOST_PAUSES], key=lambda pause: pause.from_us
    )


def gaps_in(facts: FileFacts) -> tuple[Gap, ...]:
    """The holes between the runs."""
    return tuple(
        Gap(before.last_id, after.first_id, before.last_time_us, after.first_time_us)
        for before, after in zip(facts.runs, facts.runs[1:], strict=False)
    )


def quarantined_in(folder: Path) -> tuple[Quarantined, ...]:
    """What lies in a quarantine folder, oldest first."""
    reports = [_QUARANTINED.decode(path.read_bytes()) for path in folder.glob("*.reason.json")]
    return tuple(sorted(reports, key=lambda report: (report.time_us, report.file)))
