"""Ports that agents need and lower packages satisfy: a lease for who may act, and the history of templates.

Both are declared here so that the ledger can keep them without the agents knowing of a database.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Lease(Protocol):
    """The right to act under a name, held by at most one process at a time and for a limited while."""

    async def acquire(self, name: str, holder: str, for_s: float) -> bool:
        """Take or renew the lease; false while somebody else holds it."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give it back; without effect where `holder` does not hold it."""
        ...


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What the next agent of a kind is made from. `settings` are JSON; `why` says what was learnt from the version before."""

    kind: str
    version: int
    made_us: int
    settings: dict[str, str | int | float | bool]
    why: str = ""


class TemplateHistory(Protocol):
    """Every version of every kind's template, none ever changed."""

    def latest(self, kind: str) -> Template | None: ...

    def add(self, template: Template) -> None:
        """Append the next version. Raises `NotMonotonic` where its number is not one above the latest."""
        ...
