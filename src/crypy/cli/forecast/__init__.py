"""`crypy forecast`: the direction forecaster."""

from __future__ import annotations

from crypy.cli.options import plain_app

app = plain_app("Direction of the next candle: forecasts, facts, and how good they are. Predicts only, cannot trade.")


@app.callback()
def group() -> None:
    """Keeps a lone verb a verb of its own."""
