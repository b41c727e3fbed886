"""What the dashboard reads. It knows neither engines nor nexus; whoever composes the process satisfies this."""

from __future__ import annotations

from typing import Protocol

from crypy.domain.reports import Snapshot


class Reports(Protocol):
    """Gives everything there is to show, as values, without waiting and without effect."""

    def snapshot(self) -> Snapshot: ...
