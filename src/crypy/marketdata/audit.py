"""The audit: stored trades proved day by day from the bytes on disk.

For each day: the pages' checksums hold, the rows are those that the files' footers promise, ids ascend and come once, every row
can be a trade and belongs there (`trade_checks`), no id is in two days, the ids inside aggregates go on over midnight, and the bars that are
kept are those that the rows fold to. A day that passes is marked (`audit_marks`): only marked days train a model. A bad day's files are
set aside in quarantine with the reason, and what they held is a gap that `repair` and `sync` fill. Bars that disagree are made again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.ports import Clock
from crypy.marketdata.audit_marks import AUDIT_VERSION, AuditMarks, DayMarks, Doubt, Mark, audited_days
from crypy.marketdata.coverage import Coverage
from crypy.marketdata.day_audit import DayProof, prove_day
from crypy.marketdata.download import put_away
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_facts import FileFacts, fingerprint, overlap

# Reading and checking release the interpreter; more threads than this wait for the disk.
_DAYS_AT_ONCE: Final = 4

Fate = Literal["set aside", "left"]


class BadDay(msgspec.Struct, frozen=True):
    """A day that did not pass: why, and whether it was set aside. It is left where the venue has given the very same twice."""

    day: str
    reasons: tuple[str, ...]
    fate: Fate

    def __str__(self) -> str:
        end = "the venue gives the same again, and no model trains on it" if self.fate == "left" else "set aside"
        return f"{self.day}: {'; '.join(self.reasons)}; {end}"


class SymbolAudit(msgspec.Struct, frozen=True):
    """What the audit of one symbol found. `rows` were read in `days` days; `marked` days are known to be sound now."""

    coverage: Coverage
    days: int
    rows: int
    marked: int
    bad: tuple[BadDay, ...]
    bars_made_again: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every stored day passed and no id is missing."""
        return not self.bad and self.coverage.is_whole

    def to_json(self) -> dict[str, Any]:
        """What `crypy data audit --json` prints for a symbol."""
        return self.coverage.to_json() | {
            "audited": {"days": self.days, "rows": self.rows, "marked": self.marked, "version": AUDIT_VERSION},
            "bad": [{"day": bad.day, "reasons": list(bad.reasons), "fate": bad.fate} for bad in self.bad],
            "bars_made_again": list(self.bars_made_again),
        }


def audit(
    store: TradeStore,
    venue: str,
    symbol: str,
    clock: Clock,
    *,
    only_new: bool = False,
    accept: Collection[str] = (),
) -> SymbolAudit:
    """Prove the stored days of a symbol, mark those that pass and set the others aside. Blocks, several days at once.

    `only_new` leaves out days whose content is marked. `accept` names days whose faults a person believes to be the market's: they are marked.
    Raises `ConfigError` for one of these that is not stored or not readable.
    """
    days = store.day_names(venue, symbol)
    marks = AuditMarks(store, venue, symbol)
    known, sound = marks.read(), audited_days(store, venue, symbol)
    wanted = [day for day in days if day in accept or not (only_new and day in sound)]
    now_us = clock.now_us()
    with ThreadPoolExecutor(_DAYS_AT_ONCE) as pool:
        found = pool.map(lambda day: prove_day(store, venue, symbol, day, now_us), wanted)
        proofs = {proof.day: proof for proof in found}
    _compare_days(proofs, _facts(store, venue, symbol, days, proofs), known)
    for day in accept:
        proofs[day] = _accepted(symbol, day, proofs.get(day))
    bad = [_dealt_with(store, venue, symbol, proof, known, clock) for proof in proofs.values() if proof.reasons]
    remade = sorted(proof.day for proof in proofs.values() if proof.wrong_bars)
    for day in remade:
        store.drop_bars(venue, symbol, day)
    marks.add(
        {day: proof.mark for day, proof in proofs.items() if proof.mark and not proof.reasons},
        {one.day: doubt for one in bad if (doubt := _doubt(proofs[one.day], now_us)) is not None},
    )
    return SymbolAudit(
        coverage=store.coverage(venue, symbol),
        days=len(wanted),
        rows=sum(proof.facts.rows for proof in proofs.values() if proof.facts is not None),
        marked=len(audited_days(store, venue, symbol)),
        bad=tuple(sorted(bad, key=lambda one: one.day)),
        bars_made_again=tuple(remade),
    )


def _facts(
    store: TradeStore, venue: str, symbol: str, days: Collection[str], proofs: Mapping[str, DayProof]
) -> dict[str, FileFacts]:
    """What each day that can be read holds, proved or as its files say."""
    facts: dict[str, FileFacts] = {}
    for day in days:
        if day in proofs:
            proved = proofs[day].facts
        else:
            proved = None
            with suppress(DataError):
                proved = store.day_facts(venue, symbol, day)
        if proved is not None and proved.rows:
            facts[day] = proved
    return facts


def _compare_days(proofs: dict[str, DayProof], facts: Mapping[str, FileFacts], known: DayMarks) -> None:
    """Faults that no day shows by itself, added to the proofs: of both days where none tells which of them is wrong."""
    sound = [day for day in facts if day not in proofs or not proofs[day].reasons]
    by_id = sorted(sound, key=lambda day: (facts[day].first_id, day))
    for before, after in pairwise(by_id):
        if overlap(facts[before], facts[after]):
            _add(proofs, before, f"it shares ids with {after}")
            _add(proofs, after, f"it shares ids with {before}")
        elif before > after:
            _add(proofs, before, f"its ids are lower than those of {after}, an earlier day")
            _add(proofs, after, f"its ids are higher than those of {before}, a later day")
        elif facts[before].last_id + 1 == facts[after].first_id:
            left, right = _mark(before, proofs, known), _mark(after, proofs, known)
            if left and right and left.last_single >= 0 <= right.first_single != left.last_single + 1:
                _add(
                    proofs,
                    after,
                    f"the ids inside its first aggregate begin with {right.first_single}, those of {before} end with {left.last_single}",
                )


def _mark(day: str, proofs: Mapping[str, DayProof], known: DayMarks) -> Mark | None:
    return proofs[day].mark if day in proofs else known.marks.get(day)


def _add(proofs: dict[str, DayProof], day: str, reason: str) -> None:
    proof = proofs.get(day) or DayProof(day)
    proofs[day] = replace(proof, reasons=(*proof.reasons, reason))


def _accepted(symbol: str, day: str, proof: DayProof | None) -> DayProof:
    if proof is None or proof.mark is None:
        raise ConfigError(f"{symbol}: {day} cannot be accepted: it is not stored, or its files cannot be read")
    return replace(proof, mark=msgspec.structs.replace(proof.mark, accepted="; ".join(proof.reasons)), reasons=())


def _dealt_with(store: TradeStore, venue: str, symbol: str, proof: DayProof, known: DayMarks, clock: Clock) -> BadDay:
    """Set the files of a bad day aside, unless the same content came back after that was done before."""
    doubt, now = known.doubts.get(proof.day), _doubt(proof, 0)
    if doubt is not None and now is not None and doubt.fingerprint == now.fingerprint:
        return BadDay(proof.day, proof.reasons, "left")
    set_aside(store, venue, symbol, proof.day, "; ".join(proof.reasons), clock)
    return BadDay(proof.day, proof.reasons, "set aside")


def set_aside(store: TradeStore, venue: str, symbol: str, day: str, reason: str, clock: Clock) -> None:
    """Move the files of a day to quarantine with the reason; the day is then a gap."""
    folder = store.quarantine(venue, symbol)

    def move(path: Path) -> None:
        put_away(path, path.name, reason, folder, clock)

    store.take_out(venue, symbol, day, move)


def _doubt(proof: DayProof, now_us: int) -> Doubt | None:
    """The content that was doubted; `None` where the bytes themselves are damaged: the same rows may come back sound."""
    if proof.facts is None:
        return None
    return Doubt(fingerprint(proof.facts), "; ".join(proof.reasons), now_us)
