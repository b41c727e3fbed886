"""Real processes for the tests of whole runs: `crypy up`, `crypy simulator serve`, and a way to break things in between.

Nothing here sleeps for luck: `until` looks again until a condition holds, and says what it waited for where it never does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from crypy.marketdata.store import TradeStore

CRYPY = (sys.executable, "-m", "crypy")
PATIENCE_S = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """What `condition` gives as soon as it is true; an error that names `what` when that never happens."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > ends:
            raise AssertionError(f"never seen within {seconds:g} s: {what}")
        time.sleep(0.03)
    return found


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return json.load(answer)


def run(*arguments: str | Path, seconds: float = 60.0, **more: Any) -> subprocess.CompletedProcess[str]:
    """One command, whole. It may take `seconds`; what it prints is captured."""
    return subprocess.run(
        [*CRYPY, *map(str, arguments)], capture_output=True, text=True, timeout=seconds, check=False, **more
    )


def settings(path: Path, **sections: dict[str, Any]) -> Path:
    """A settings file: a small world of two coins, changed and added to by `sections`."""
    small: dict[str, dict[str, Any]] = {
        "data": {"symbols": ["BTCUSDT", "XRPUSDT"], "durations": ["5m", "15m", "4h"], "history_days": 1},
        "simulator": {"seed": 11, "trades_per_day": 20_000},
        # Eager and with small stakes, so that orders come within seconds.
        "engine": {
            "min_edge": 0.001,
            "book_weight": 0.0,
            "kelly_fraction": 0.05,
            "probability_error": 0.0,
            "delay_aversion": 0.0,
            "basis_aversion": 0.0,
            "cooldown_s": 2.0,
        },
    }
    for name, values in sections.items():
        small[name] = small.get(name, {}) | values
    lines = [
        line
        for name, values in small.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()))
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    """Pids of a process's children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Faults:
    """What goes wrong in a simulator, over its control port."""

    def __init__(self, control: str) -> None:
        self.control = control

    def add(self, target: str, kind: str, **more: Any) -> int:
        body = json.dumps({"target": target, "kind": kind, **more}).encode()
        with urllib.request.urlopen(f"{self.control}/faults", data=body, timeout=10.0) as answer:
            return json.load(answer)["id"]

    def hits(self, number: int) -> int:
        return get(f"{self.control}/faults/{number}")["hits"]

    def clear(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.control}/faults", method="DELETE"), timeout=10.0).close()

    @contextmanager
    def during(self, target: str, kind: str, **more: Any) -> Iterator[Callable[[], int]]:
        """Put a fault in force inside the block, which is given the count of its hits."""
        number = self.add(target, kind, **more)
        try:
            yield lambda: self.hits(number)
        finally:
            self.clear()


class Up:
    """A `crypy up` in a process of its own, and what can be seen of it from outside."""

    def __init__(self, data_dir: Path, config: Path, *arguments: str, **more: Any) -> None:
        self.data_dir = data_dir
        command = [*CRYPY, "up", "--json", "--port", "0", "--terminal-port", "0", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(
            [*command, "--config", str(config), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more,
        )  # fmt: skip
        self._seen = 0
        self._url = ""

    # What it tells

    def logged(self, event: str) -> dict[str, Any] | None:
        """The last log event of that name of this process, `None` while there is none."""
        found = [each for each in self.log() if each.get("event") == event]
        return found[-1] if found else None

    def log(self) -> list[dict[str, Any]]:
        path = self.data_dir / "logs" / "crypy.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def url(self) -> str:
        if not self._url:
            note = self.data_dir / "run" / f"{self.process.pid}.page"
            text = self.until(lambda: note.is_file() and note.read_text(), "the page's address")
            self._url = text.rstrip("/")
        return self._url

    def snapshot(self) -> dict[str, Any]:
        return get(self.url() + "/api/snapshot")

    def agents(self) -> dict[str, str]:
        """State of each agent, as the directory of processes tells."""
        path = self.data_dir / "run" / f"{self.process.pid}.json"
        if not path.is_file():
            return {}
        return {agent["name"]: agent["state"] for agent in json.loads(path.read_bytes())["agents"]}

    def terminal(self) -> tuple[str, int]:
        def address() -> tuple[str, int] | None:
            path = self.data_dir / "run" / f"{self.process.pid}.json"
            entry = json.loads(path.read_bytes()) if path.is_file() else {}
            return (entry["terminal_host"], entry["terminal_port"]) if entry.get("terminal_port") else None

        return self.until(address, "the terminal's address")

    def faults(self) -> Faults:
        """The control port of its simulator."""

        def ready() -> dict[str, Any] | None:
            # The log outlives a run: the ready line that counts is that of our own child.
            told = self.logged("simulator.ready")
            return told if told and told["pid"] in children(self.process.pid) else None

        return Faults(self.until(ready, "a simulator that is ready")["control"])

    def simulator(self) -> int:
        """The pid of its simulator."""
        return self.until(lambda: children(self.process.pid), "the simulator's process")[0]

    # Waiting

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        """As the function of that name; a process that ended meanwhile tells why."""

        def look() -> Any:
            found = condition()
            if not found and self.process.poll() is not None:
                out, err = self.process.communicate()
                raise AssertionError(f"ended with {self.process.returncode} before {what}: {out}{err}")
            return found

        return until(look, what, seconds)

    def until_snapshot(self, condition: Callable[[dict[str, Any]], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        """The first snapshot of which `condition` is true."""
        return self.until(lambda: condition(shown) and shown if (shown := self.snapshot()) else None, what, seconds)

    def until_trading(self) -> dict[str, Any]:
        """The first snapshot with forecasts, decisions and a fill."""
        return self.until_snapshot(
            lambda shown: all(shown["counters"][name] for name in ("forecasts", "decisions", "fills")), "a fill"
        )

    # Ending

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = PATIENCE_S) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a process that ends by itself within `seconds`."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def stop(self) -> dict[str, Any]:
        """Ctrl-C, and the summary that comes of it."""
        self.signal(signal.SIGINT)
        code, out, err = self.ended()
        assert (code, err) == (0, ""), (code, err)
        return json.loads(out)

    def kill(self) -> None:
        """Kill -9, with a look whether the simulator follows."""
        followers = children(self.process.pid)
        self.process.kill()
        self.process.communicate()
        for pid in followers:
            until(lambda pid=pid: not is_alive(pid), "the end of the simulator", 10.0)

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Venues:
    """A `crypy simulator serve` in a process of its own: venues that are there before `crypy` is."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*CRYPY, "simulator", "serve", "--json", "--config", str(config), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the simulator did not start"
        self.ready = json.loads(line)
        self.urls: dict[str, str] = self.ready["urls"]
        self.faults = Faults(self.urls["control"])

    def sections(self) -> dict[str, dict[str, str]]:
        """The settings' sections that lead here."""
        return {
            "binance": {f"{name}_url": self.urls[name] for name in ("archive", "rest", "stream")},
            "polymarket": {f"{name}_url": self.urls[name] for name in ("gamma", "clob", "market_ws")},
        }

    def __enter__(self) -> Venues:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10.0)


def said_to(address: tuple[str, int], *lines: str) -> str:
    """Everything a terminal answers to some lines, by a bare socket."""
    with socket.create_connection(address, timeout=10.0) as link:
        link.sendall("".join(f"{line}\n" for line in (*lines, "exit")).encode())
        answer = b""
        while data := link.recv(65_536):
            answer += data
    return answer.decode().replace("\r\n", "\n")


def world_of(data_dir: Path) -> Path:
    """The folder of the one world in a data folder."""
    (card,) = data_dir.rglob("world.json")
    return card.parent


def store_is_whole(data_dir: Path, kind: Any = "aggTrades") -> dict[str, int]:
    """Rows of each stored symbol, after a look at the rows themselves that no id is missing and none is there twice."""
    store = TradeStore(world_of(data_dir) / "store", kind)
    rows: dict[str, int] = {}
    for venue, symbol in store.symbols():
        found = store.coverage(venue, symbol, verify=True)
        assert found.is_whole, [str(gap) for gap in found.gaps]
        assert found.first_id is not None
        assert found.last_id is not None
        assert found.rows == found.last_id - found.first_id + 1
        rows[symbol] = found.rows
    return rows


class Books:
    """The paper account as its two databases tell it, read as plain SQL and not by the code that wrote them."""

    def __init__(self, data_dir: Path) -> None:
        folder = world_of(data_dir)
        with closing(sqlite3.connect(folder / "ledger-paper.db")) as ledger:
            self.orders: dict[str, tuple[Any, ...]] = _keyed(
                ledger, "select client_id, symbol, side, quantity, price from orders"
            )
            self.events: list[tuple[str, str]] = ledger.execute("select client_id, status from order_events").fetchall()
            self.fills: dict[str, tuple[Any, ...]] = _keyed(
                ledger, "select id, client_id, symbol, side, price, quantity, fee, time_us from fills"
            )
            self.paid: dict[str, tuple[Any, ...]] = _keyed(
                ledger, "select condition_id, outcome, paid from redemptions"
            )
            self.balances: dict[str, Decimal] = {}
            for asset, amount in ledger.execute("select asset, amount from postings where part = 'wallet'"):
                self.balances[asset] = self.balances.get(asset, Decimal(0)) + Decimal(amount)
        with closing(sqlite3.connect(folder / "paper-venue.db")) as venue:
            self.venue_orders = {name for (name,) in venue.execute("select client_id from paper_orders")}
            self.venue_fills = {name for (name,) in venue.execute("select id from paper_fills")}
            self.venue_paid = {name for (name,) in venue.execute("select condition_id from paper_redemptions")}
            amounts = venue.execute("select asset, amount from paper_balances").fetchall()
            self.venue_balances = {asset: Decimal(amount) for asset, amount in amounts if Decimal(amount)}

    def check(self, cash: Decimal = Decimal(1000)) -> None:
        """Ledger and venue agree to the unit, every order was sent once, and no money came from nowhere."""
        sent = [client_id for client_id, status in self.events if status == "sent"]
        assert len(sent) == len(set(sent))
        assert set(self.orders) >= self.venue_orders
        assert set(self.fills) == self.venue_fills
        assert set(self.paid) == self.venue_paid
        assert {asset: amount for asset, amount in self.balances.items() if amount} == self.venue_balances
        flow = sum(
            ((-1 if side == "buy" else 1) * Decimal(price) * Decimal(quantity) - Decimal(fee)
             for _, _, side, price, quantity, fee, _ in self.fills.values()), Decimal(0),
        )  # fmt: skip
        assert cash + flow + sum((Decimal(paid) for _, paid in self.paid.values()), Decimal(0)) == self.balances["pUSD"]

    def check_follows(self, earlier: Books) -> None:
        """Everything that was there earlier is there, and as it was."""
        for name in ("orders", "fills", "paid"):
            before, now = getattr(earlier, name), getattr(self, name)
            assert {key: now.get(key) for key in before} == before
        assert self.events[: len(earlier.events)] == earlier.events


def _keyed(database: sqlite3.Connection, query: str) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in database.execute(query)}


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def left_behind(data_dir: Path) -> list[str]:
    """Things that only a process that died half-way leaves: entries of the directory, half-written files."""
    run_dir = data_dir / "run"
    entries = [path.name for path in run_dir.iterdir()] if run_dir.is_dir() else []
    torn = [str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if path.suffix in (".tmp", ".new", ".part")]
    return entries + torn


def limited_files(most_bytes: int) -> Callable[[], None]:
    """To be run in a child before its program: no file of it may grow past this size."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return limit


__all__ = [
    "CRYPY", "Books", "Faults", "Up", "Venues", "children", "free_port", "get", "is_alive", "left_behind", "limited_files",
    "os", "run", "said_to", "settings", "store_is_whole", "until", "world_of",
]  # fmt: skip
