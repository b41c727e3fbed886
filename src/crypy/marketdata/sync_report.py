"""What a sync of trades or candles tells when it is done."""

from __future__ import annotations

from typing import Any

import msgspec

from crypy.marketdata.coverage import Coverage


class SyncReport(msgspec.Struct, frozen=True):
    """What is stored after a sync, and in words what went wrong on the way.

    `kind` is `aggTrades`, `trades` or such as `klines:1s`. `unfinished` are the symbols of which not all that was asked for is stored. A problem may have been mended: a bad
    file is one, and what took its place makes the symbol whole all the same.
    """

    kind: str
    coverage: dict[str, Coverage]
    problems: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for is stored, and no stored symbol has a gap."""
        return not self.unfinished and all(coverage.is_whole for coverage in self.coverage.values())

    def to_json(self) -> dict[str, Any]:
        """The form that `crypy data sync --json` prints."""
        return {
            "kind": self.kind,
            "symbols": {symbol: coverage.to_json() for symbol, coverage in self.coverage.items()},
            "problems": list(self.problems),
            "unfinished": list(self.unfinished),
        }
