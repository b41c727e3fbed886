"""The agent `repair` of `crypy up`: looks for gaps and bad days of the stored history every hour, and has them fetched again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from crypy.app.data_side import DataSide
from crypy.app.road import Road
from crypy.domain.errors import CrypyError
from crypy.domain.times import iso
from crypy.marketdata.repair import SymbolRepair, repair
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.commands import Command

log = structlog.get_logger()

# Of the agents' clock.
EVERY_S: Final = 3_600.0


@dataclass(slots=True)
class RepairCounts:
    """Since the start. `left` are sentences on what the last look could not mend."""

    looks: int = 0
    filled: int = 0
    set_aside: int = 0
    corrected: int = 0
    looked_us: int = 0
    left: tuple[str, ...] = ()
    fault: str = ""


class Repairing:
    """Repairs the store of a run, and tells what runs live of the trades that came back."""

    def __init__(self, data: DataSide, road: Road) -> None:
        self.counts = RepairCounts()
        self._data = data
        self._road = road
        self._busy = asyncio.Lock()

    def agent(self) -> Agent:
        """The agent; its command `now` does not wait for the hour."""
        return Agent(
            "repair",
            self.main,
            status=self.status,
            commands=(Command("now", "look for gaps and bad days now, and fetch what is missing", self.now),),
            pausable=True,
        )

    async def main(self, context: AgentContext) -> None:
        """Look once, and then every hour, until cancelled. A recording has no archive to ask."""
        context.ready()
        if not self.has_past:
            await context.forever()
        await self._look_and_tell(context)
        async for _ in context.every(EVERY_S):
            await self._look_and_tell(context)

    @property
    def has_past(self) -> bool:
        """Whether there is a venue that can be asked for what is missing."""
        return self._road.end_us is None and self._road.history_start_us is not None

    async def now(self) -> str:
        """Look at once; what came of it, in words."""
        if not self.has_past:
            return "a recording has no archive to ask"
        before = (self.counts.filled, self.counts.set_aside)
        await self.look()
        told = (
            f"{self.counts.filled - before[0]:,} trades came back, {self.counts.set_aside - before[1]} days set aside"
        )
        return "; ".join([told, *self.counts.left])

    async def look(self) -> None:
        """One look at all symbols. Raises what `repair` raises."""
        async with self._busy:
            left: list[str] = []
            for symbol in self._road.symbols:
                found = await repair(self._data.store, self._data.history, self._road.clock, [symbol])
                await self._take(symbol, found[symbol])
                left += found[symbol].left
            self.counts.looks += 1
            self.counts.looked_us = self._road.clock.now_us()
            self.counts.left = tuple(left)

    def status(self) -> Mapping[str, str]:
        counts = self.counts
        return {
            "looks": str(counts.looks),
            "last look": iso(counts.looked_us) if counts.looked_us else "none",
            "trades filled": str(counts.filled),
            "days set aside": str(counts.set_aside),
            "live trades corrected": str(counts.corrected),
            "not mended": "; ".join(counts.left) or "nothing",
            "fault": counts.fault or "none",
        }

    async def _look_and_tell(self, context: AgentContext) -> None:
        try:
            await self.look()
        except (CrypyError, OSError) as error:
            # The venue or the disk does not answer now, or a sync is at work: the next look is as good.
            self.counts.fault = str(error)
            context.degrade(f"the last repair did not end: {error}")
            return
        self.counts.fault = ""
        context.recover()

    async def _take(self, symbol: str, found: SymbolRepair) -> None:
        """Count and log what came of a symbol, and let live know what it had passed over."""
        self.counts.set_aside += len(found.set_aside)
        self.counts.filled += found.filled
        for words in found.set_aside:
            log.warning("repair.set_aside", symbol=symbol, day=words)
        for words in found.left:
            log.warning("repair.left", symbol=symbol, problem=words)
        if found.filled:
            log.info("repair.filled", symbol=symbol, trades=found.filled)
        self.counts.corrected += await self._data.fill_holes(symbol)
