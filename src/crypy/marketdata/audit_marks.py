"""Which days of a symbol have been audited: a small JSON file beside the store, `<root>/audit/<venue>/<symbol>/<kind>.json`.

A mark carries the fingerprint of the rows that were proved and the version of the files that they were read from. It holds as long as these files are
untouched and the audit looks for nothing more: files that were merged or copied are proved again, which is quick. A doubt is a content that was found wrong and set aside; when the venue gives
the very same again, it is its word, and the day is neither set aside again nor marked until a person accepts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from crypy.marketdata.trade_files import whole_file
from crypy.marketdata.trade_locks import waiting_lock

if TYPE_CHECKING:
    from crypy.marketdata.store import TradeStore

# Raised when the audit looks for more: what was marked before is then audited again.
AUDIT_VERSION: Final = 1


class Mark(msgspec.Struct, frozen=True):
    """A day that passed. `first_single` and `last_single` are the ids inside its first and last row, -1 where these are void.

    `files` is the store's `day_versions` of the day, `version` the audit's. `accepted` says what a person accepted, empty where nothing was wrong.
    """

    fingerprint: str
    files: str
    rows: int
    first_single: int
    last_single: int
    audited_us: int
    version: int = AUDIT_VERSION
    accepted: str = ""


class Doubt(msgspec.Struct, frozen=True):
    """A content of a day that was set aside, and why."""

    fingerprint: str
    reason: str
    time_us: int


class DayMarks(msgspec.Struct, frozen=True):
    """Marks and doubts of one symbol by UTC day."""

    marks: dict[str, Mark] = {}
    doubts: dict[str, Doubt] = {}

    def is_audited(self, day: str, files: str) -> bool:
        """Whether these files of the day passed this version of the audit."""
        mark = self.marks.get(day)
        return mark is not None and (mark.files, mark.version) == (files, AUDIT_VERSION)


# Made before any thread needs it: see `marketdata.trade_files`.
_MARKS: Final = msgspec.json.Decoder(DayMarks)


class AuditMarks:
    """The marks of one symbol on disk. Plain calls that block; several processes may change them, each change is whole."""

    def __init__(self, store: TradeStore, venue: str, symbol: str) -> None:
        self.path = Path(store.root) / "audit" / venue / symbol / f"{store.kind}.json"

    def read(self) -> DayMarks:
        """What is marked; nothing where the file is absent or damaged: then the rows are audited again."""
        try:
            return _MARKS.decode(self.path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return DayMarks()

    def change(self, edit: Callable[[DayMarks], DayMarks]) -> None:
        """Replace what is marked by `edit` of it, durably."""
        with waiting_lock(self.path.with_suffix(".lock")):
            before = self.read()
            after = edit(before)
            if after != before:
                with whole_file(self.path) as temporary:
                    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(after, order="sorted")))

    def add(self, marks: Mapping[str, Mark], doubts: Mapping[str, Doubt]) -> None:
        """Mark days that passed, and note contents that were set aside; a day that passed is doubted no more."""

        def added(known: DayMarks) -> DayMarks:
            left = {day: doubt for day, doubt in known.doubts.items() if day not in marks}
            return DayMarks(known.marks | dict(marks), left | dict(doubts))

        self.change(added)


def audited_days(store: TradeStore, venue: str, symbol: str) -> frozenset[str]:
    """The stored days that passed the audit as they are now: all that may train a model."""
    marks = AuditMarks(store, venue, symbol).read()
    return frozenset(day for day, files in store.day_versions(venue, symbol).items() if marks.is_audited(day, files))
