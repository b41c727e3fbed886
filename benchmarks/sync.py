"""`crypy data sync` of whole archive files of 20 M aggregates, from a server on loopback: one file, and four coins at once.

The command runs as users run it, its start included. Told are rows a second, processor seconds for a million rows and the peak memory of the whole
process. Yardstick: inflating the same files with isal, one after the other. Budget (DESIGN section 7): 1.5 GB for a whole sync.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ingest import ROWS, make_files
from benchmarks.ingest_engines import inflate_alone
from benchmarks.results import Row, Spread
from benchmarks.timing import scaled

DAY = "2025-01-01"
COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


class Taken(NamedTuple):
    """What one sync took."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measure(effort: float) -> list[Row]:
    """One file and four at once, each against inflating alone."""
    rows = scaled(ROWS, effort, 20_000)
    folder = Path(tempfile.gettempdir()) / "crypy-benchmark-ingest"
    csv, zipped = make_files(folder, rows)
    began = time.perf_counter()
    inflate_alone(csv, zipped, folder)
    alone_s = time.perf_counter() - began
    table: list[Row] = []
    with served(zipped, csv) as url:
        for coins in (COINS[:1], COINS):
            runs = [synced(url, coins, rows) for _ in range(scaled(2, effort))]
            what = f"sync of {len(coins)} file{'s at once' if len(coins) > 1 else ''}"
            total = rows * len(coins)
            table += [
                Row(
                    what=f"{what}, the whole command", ours=Spread.of([run.seconds for run in runs]).per(total * 1e-6),
                    unit="M rows/s", more_is_better=True, peer="isal, inflating alone, one after the other",
                    theirs=Spread.of([alone_s * len(coins)]).per(total * 1e-6),
                ),
                Row(
                    what=f"{what}, processor time", ours=Spread.of([run.cpu_s * 1e6 / total for run in runs]),
                    unit="s/M rows",
                ),
                Row(
                    what=f"{what}, peak memory", ours=Spread.of([run.peak_mb for run in runs]), unit="MB", budget=1_500.0
                ),
            ]  # fmt: skip
    return table


def synced(url: str, coins: tuple[str, ...], rows: int) -> Taken:
    """One `crypy data sync` into an empty folder. Raises `AssertionError` where it does not store every row."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "crypy.toml"
        config.write_text(f'[binance]\narchive_url = "{url}"\nrest_url = "{url}"\n', "utf-8")
        command = [
            sys.executable, "-m", "crypy", "data", "sync", "--json", "--config", str(config), "--data-dir", folder,
            "--symbols", ",".join(coins), "--start", f"{DAY}T00:00:00Z",
        ]  # fmt: skip
        began = time.perf_counter()
        with (Path(folder) / "report.json").open("wb") as report:
            child = subprocess.Popen(command, stdout=report)
            _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        told = json.loads((Path(folder) / "report.json").read_bytes())
    stored = {symbol: found["rows"] for symbol, found in told["symbols"].items()}
    assert stored == dict.fromkeys(coins, rows), told
    return Taken(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


@contextmanager
def served(zipped: Path, csv: Path) -> Generator[str]:
    """A venue that has this one file for each coin, and tells its first and last trade by REST."""
    sha256 = _sha256(zipped)
    edges = [_edge(line) for line in _first_and_last(csv)]

    class Venue(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer_file(head=True)

        def do_GET(self) -> None:
            if self.path.startswith("/api/"):
                self._answer(200, json.dumps([edges[0] if "startTime" in self.path else edges[1]]).encode())
            else:
                self._answer_file(head=False)

        def _answer_file(self, head: bool) -> None:
            name = self.path.rsplit("/", 1)[1]
            if not name.removesuffix(".CHECKSUM").endswith(f"-aggTrades-{DAY}.zip"):
                self._answer(404, b"")
            elif name.endswith(".CHECKSUM"):
                self._answer(200, f"{sha256}  {name.removesuffix('.CHECKSUM')}\n".encode())
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(zipped.stat().st_size))
                self.end_headers()
                if not head:
                    with zipped.open("rb") as file:
                        self.wfile.flush()
                        self.connection.sendfile(file)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: each line would be timed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Venue)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_and_last(csv: Path) -> tuple[str, str]:
    with csv.open("rb") as file:
        first = file.readline()
        file.seek(max(0, csv.stat().st_size - 400))
        return first.decode(), file.read().decode().splitlines()[-1]


def _edge(line: str) -> dict[str, Any]:
    identity, price, quantity, first, last, time_us, maker, _ = line.strip().split(",")
    return {
        "a": int(identity), "p": price, "q": quantity, "f": int(first), "l": int(last), "T": int(time_us),
        "m": maker == "True",
    }  # fmt: skip
