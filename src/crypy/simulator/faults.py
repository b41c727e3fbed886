"""What the simulated venues do wrong on purpose, configurable while they run.

A fault names a target (a server), a kind (what goes wrong) and how often. The servers ask `pick` at each
frame or request and carry out what they get; which of the events are hit comes from a seeded generator. So
that a test can wait for a fault instead of hoping for it, each one counts its hits.

Kinds of stream targets: `drop`, `duplicate`, `delay` (by `delay_s`), `reorder` (behind the next frame), `rubbish`
(bytes that are no JSON), `stall` (silence on an open connection for `delay_s`, for ever if 0), `close`,
`close_mid_frame`, `refuse` (the handshake, with `status`); of Bybit's also `correct` (a closed candle is told without its last trades, and right
after `delay_s`). Kinds of HTTP targets: `status` (with `status` and `retry_after_s`),
`delay`, `truncate`, `rubbish`, `missing` (404); of the archive also `wrong_checksum`, `corrupt_zip`, and `rows` (with `value` =
one of `ROW_FAULTS`); of Bybit's REST also `absent` (a candle that `match` names is left out of answers). Times are in seconds of the simulator's clock.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, get_args

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError

StreamFault = Literal[
    "drop", "duplicate", "delay", "reorder", "rubbish", "stall", "close", "close_mid_frame", "refuse"
]  # fmt: skip
HttpFault = Literal["status", "delay", "truncate", "rubbish", "missing", "wrong_checksum", "corrupt_zip", "rows"]
CandleFault = Literal["correct", "absent"]
RowFault = Literal["header", "mixed_units", "duplicate", "unordered", "missing", "negative_price", "nan_price"]
FRAME_FAULTS: Final = frozenset(get_args(StreamFault)) - {"refuse"}
ROW_FAULTS: Final = frozenset(get_args(RowFault))
KINDS: Final = FRAME_FAULTS | frozenset(get_args(HttpFault)) | frozenset(get_args(CandleFault)) | {"refuse"}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    `target` is the server (`binance.stream`, `binance.rest`, `binance.archive`, ...), `match` a part of the stream's name or the
    request's path ("" = all), `share` the chance per event, `count` the number of hits after which it is spent (`None` = never).
    """

    target: str
    kind: str
    match: str = ""
    share: float = 1.0
    count: int | None = None
    delay_s: float = 0.0
    status: int = 503
    retry_after_s: float | None = None
    value: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not a kind of fault; choose from {', '.join(sorted(KINDS))}")
        if self.kind == "rows" and self.value not in ROW_FAULTS:
            raise ValueError(f"{self.value!r} is not a fault of rows; choose from {', '.join(sorted(ROW_FAULTS))}")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is {self.share}; it must be above 0 and at most 1")


class FaultRow(msgspec.Struct, frozen=True):
    """A fault with its number and how often it has struck."""

    id: int
    fault: Fault
    hits: int


class Faults:
    """The faults in force. One for all servers of a simulator."""

    def __init__(self, seed: int, targets: Collection[str] = ()) -> None:
        self._rng = np.random.Generator(np.random.Philox(seed))
        self._targets = frozenset(targets)
        self._faults: dict[int, Fault] = {}
        self._hits: dict[int, int] = {}
        self._next_id = 1

    def add(self, fault: Fault) -> int:
        """Put a fault in force; its number. Raises `ConfigError` for a target that does not exist."""
        if self._targets and fault.target not in self._targets:
            raise ConfigError(f"no server {fault.target!r} to break; choose from {', '.join(sorted(self._targets))}")
        number, self._next_id = self._next_id, self._next_id + 1
        self._faults[number] = fault
        self._hits[number] = 0
        return number

    def clear(self, number: int | None = None) -> None:
        """Lift one fault, or all. Their hits stay readable."""
        if number is None:
            self._faults.clear()
        else:
            self._faults.pop(number, None)

    def hits(self, number: int) -> int:
        """How often a fault has struck, lifted or not. Raises `ConfigError` for a number never given."""
        if number not in self._hits:
            raise ConfigError(f"there is no fault {number}")
        return self._hits[number]

    def rows(self) -> tuple[FaultRow, ...]:
        """Everything in force."""
        return tuple(FaultRow(number, fault, self._hits[number]) for number, fault in self._faults.items())

    def pick(self, target: str, kinds: Collection[str], subject: str) -> Fault | None:
        """The first fault of these kinds that strikes this event, counted as a hit; `None` mostly."""
        if not self._faults:
            return None
        for number, fault in list(self._faults.items()):
            if fault.target != target or fault.kind not in kinds or fault.match not in subject:
                continue
            if fault.share < 1.0 and self._rng.random() >= fault.share:
                continue
            self._hits[number] += 1
            if fault.count is not None and self._hits[number] >= fault.count:
                del self._faults[number]
            return fault
        return None
