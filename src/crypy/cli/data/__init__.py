"""`crypy data`: history of trades, proved and at hand."""

from __future__ import annotations

from crypy.cli.data import bars, history, recordings
from crypy.cli.options import plain_app

app = plain_app("History of trades. Example: crypy data sync --symbols BTCUSDT --start 2025-01-01")
app.command("sync")(history.sync)
app.command("info")(history.info)
app.command("gaps")(history.gaps)
app.command("bars")(bars.bars)
app.command("sequence")(bars.sequence)
app.command("recordings")(recordings.recordings)
