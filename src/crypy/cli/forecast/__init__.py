"""`crypy forecast`: the direction forecaster."""

from __future__ import annotations

from crypy.cli.forecast import evaluate, facts, replay, run, train
from crypy.cli.options import plain_app

app = plain_app("Direction of the next candle: forecasts, facts, and how good they are. Predicts only, cannot trade.")


@app.callback()
def group() -> None:
    """Keeps a lone verb a verb of its own."""


app.command("run")(run.run)
app.command("train")(train.train)
app.command("facts")(facts.facts)
app.command("eval")(evaluate.evaluate)
app.command("replay")(replay.replay)
