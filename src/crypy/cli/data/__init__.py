"""`crypy data`: history of trades, proved and at hand."""

from __future__ import annotations

from crypy.cli.data import access, bars, candles, history, recordings, sync, synthetic
from crypy.cli.options import plain_app

app = plain_app("History of trades. Example: crypy data sync --symbols BTCUSDT --start 2025-01-01")
app.command("sync")(sync.sync)
app.command("info")(history.info)
app.command("audit")(history.audit)
app.command("gaps")(history.gaps)
app.command("repair")(history.repair)
app.command("bars")(bars.bars)
app.command("candles")(candles.candles)
app.command("sequence")(bars.sequence)
app.command("recordings")(recordings.recordings)
app.command("sql")(access.sql)
app.command("export")(access.export)
app.command("import")(access.take_in)
app.command("simulate")(synthetic.simulate)
