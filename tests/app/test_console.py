"""The log is lines of JSON, whoever writes into it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import structlog

from crypy.app.console import Console


def test_every_line_of_the_log_is_json_also_those_of_libraries(tmp_path: Path) -> None:
    with Console(quiet=True).watching_logs(tmp_path):
        structlog.get_logger().info("market.settled", slug="btc-updown-5m-1", paid="5")
        logging.getLogger("uvicorn").warning("listening on %s", 8700)
        try:
            raise ValueError("broken")
        except ValueError:
            structlog.get_logger().exception("order.failed")
    lines = [json.loads(line) for line in (tmp_path / "logs" / "crypy.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["market.settled", "listening on 8700", "order.failed"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert lines[0]["slug"] == "btc-updown-5m-1"
    assert "ValueError: broken" in lines[2]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
