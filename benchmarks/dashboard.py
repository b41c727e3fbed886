"""The dashboard's snapshot of 60 markets: rows out of the engines, then JSON, against the standard library's encoder.

`report` asks 60 engines of real markets (probability, book, holdings, ages); `snapshot` is those rows with everything else as the page is sent it. The peer
encodes the same values by `json.dumps`. None of it is in the price path: it runs four times a second beside it, in the same thread.
"""

from __future__ import annotations

import json

import msgspec
from msgspec.structs import replace

from benchmarks.results import Row
from benchmarks.sixty_markets import world
from benchmarks.timing import latencies_us, scaled
from crypy.dashboard.feed import Feed
from crypy.domain.reports import Snapshot
from crypy.testing.reports import MadeUpReports

CALLS = 300
BUDGET_MS = 5.0


class EngineReports:
    """The dashboard's `Reports`: rows of sixty real engines, the rest made up."""

    def __init__(self) -> None:
        _, _, self._manager = world(120.0)
        self._rest = MadeUpReports().snapshot()

    def snapshot(self) -> Snapshot:
        return replace(self._rest, rows=self._manager.report())


def measure(effort: float) -> list[Row]:
    calls = scaled(CALLS, effort, 20)
    reports = EngineReports()
    snapshot, feed, encoder = reports.snapshot(), Feed(reports), msgspec.json.Encoder()
    assert len(snapshot.rows) == 60
    assert json.loads(encoder.encode(snapshot)) == json.loads(json.dumps(msgspec.to_builtins(snapshot)))
    ways = {
        "whole": lambda _: feed.encode_snapshot(),
        "rows": lambda _: reports.snapshot(),
        "encoding": lambda _: encoder.encode(snapshot),
        "json": lambda _: json.dumps(msgspec.to_builtins(snapshot)).encode(),
    }
    found = latencies_us(ways, calls)
    whole, rows, encoding, peer = (found[name] for name in ways)
    size = len(encoder.encode(snapshot)) / 1e3
    ms = 1e-3
    return [
        Row(what="snapshot of 60 markets as JSON, median", ours=whole.p50.times(ms), unit="ms", budget=BUDGET_MS),
        Row(what="snapshot of 60 markets as JSON, p99", ours=whole.p99.times(ms), unit="ms", budget=BUDGET_MS),
        Row(what="of it the rows out of 60 engines, median", ours=rows.p50.times(ms), unit="ms"),
        Row(
            what=f"of it encoding {size:.0f} kB, median", ours=encoding.p50.times(ms), unit="ms", peer="json.dumps",
            theirs=peer.p50.times(ms),
        ),
    ]  # fmt: skip
