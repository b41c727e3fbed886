"""From nothing to the first answer: `import crypy`, `crypy --help`, and `crypy up` to its page and its first forecast.

Each a fresh process. Beside the imports stand those of packages that a user may know. `crypy up` runs the demo as `make run` does (ten days of four
symbols, 3.6 M trades, generated, served, fetched, checked, stored and fitted) in an empty data folder: once with an empty kernel cache, as after
installing, then with a warm one. The page's own snapshot is asked until it counts a forecast. Compile seconds are those of the main process, each
kernel without what it calls; the simulator compiles its own beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.compiling import Kernel
from benchmarks.machine import cpu_s, peak_mb
from benchmarks.results import Row, Spread
from benchmarks.timing import scaled

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = 9
PEERS = ("pass", "import numpy", "import numba", "import polars", "import pandas")
FIRST_ANSWER_MS = 300.0
FIRST_FORECAST_S = 120.0
_POLL_S = 0.05
_DEAREST = 5


class Started(NamedTuple):
    """Seconds from the start of the process to the page's first answer and to the first forecast, and what it took then.

    `cores` is how much processor time it uses while it runs.
    """

    page_s: float
    forecast_s: float
    peak_mb: float
    cores: float
    kernels: list[Kernel]


def process_ms(arguments: list[str], runs: int) -> Spread:
    """Milliseconds of a whole process, after one that warms the disk's cache."""
    taken: list[float] = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
        taken.append((time.perf_counter() - began) * 1e3)
    return Spread.of(taken[1:])


def start_up(cache: Path, folder: Path, config: str, watch_s: float) -> Started:
    """`crypy up` in an empty folder, ended by Ctrl-C so long after its first forecast."""
    report, settings = folder / "kernels.json", folder / "crypy.toml"
    settings.write_text(config, "utf-8")
    command = [
        sys.executable, "-m", "benchmarks.compiling", str(report), "up", "--port", "0", "--terminal-port", "0",
        "--data-dir", str(folder / "data"), "--config", str(settings),
    ]  # fmt: skip
    environment = os.environ | {"CRYPY_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL)
    try:
        page = folder / "data" / "run" / f"{process.pid}.page"
        while _forecasts(page) is None:
            _expect_running(process, began)
        page_s = time.perf_counter() - began
        while not _forecasts(page):
            _expect_running(process, began)
        forecast_s = time.perf_counter() - began
        used_s = cpu_s(process.pid)
        time.sleep(watch_s)
        cores, memory_mb = (cpu_s(process.pid) - used_s) / watch_s, peak_mb(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return Started(page_s, forecast_s, memory_mb, cores, msgspec.json.decode(report.read_bytes(), type=list[Kernel]))


def _expect_running(process: subprocess.Popen[bytes], began: float) -> None:
    assert process.poll() is None, f"crypy up ended with exit code {process.returncode}"
    assert time.perf_counter() - began < 3 * FIRST_FORECAST_S, "no forecast after six minutes"
    time.sleep(_POLL_S)


def _forecasts(page: Path) -> int | None:
    """What the page counts, `None` while there is none."""
    try:
        with urllib.request.urlopen(page.read_text("utf-8") + "api/snapshot", timeout=10.0) as answer:
            return int(msgspec.json.decode(answer.read())["counters"]["forecasts"])
    except (OSError, urllib.error.URLError):
        return None


def imports(effort: float) -> list[Row]:
    """Whole processes that only import."""
    runs = scaled(RUNS, effort, 1)
    ours = process_ms(["-c", "import crypy"], runs)
    rows = [
        Row(
            what="import crypy", ours=ours, unit="ms", peer=f"python -c '{peer}'", theirs=process_ms(["-c", peer], runs),
            budget=FIRST_ANSWER_MS,
        )
        for peer in PEERS
    ]  # fmt: skip
    rows.append(
        Row(
            what="crypy --help", ours=process_ms(["-m", "crypy", "--help"], runs), unit="ms", peer="python -c 'import typer'",
            theirs=process_ms(["-c", "import typer"], runs), budget=FIRST_ANSWER_MS,
        )
    )  # fmt: skip
    return rows


def first_forecasts(config: str, warm_runs: int, watch_s: float) -> list[Row]:
    """`crypy up` with an empty kernel cache, then some times with the one that made."""
    started: list[Started] = []
    with tempfile.TemporaryDirectory() as root:
        for number in range(1 + warm_runs):
            folder = Path(root) / str(number)
            folder.mkdir()
            started.append(start_up(Path(root) / "cache", folder, config, watch_s))
    cold, warm = started[0], started[1:]
    once = [
        Spread(value, value, value) for value in (cold.page_s, cold.forecast_s, sum(k.seconds for k in cold.kernels))
    ]
    count = sum(kernel.times for kernel in cold.kernels)
    rows = [
        Row(what="crypy up to its page, empty kernel cache", ours=once[0], unit="s"),
        Row(what="crypy up to its first forecast, empty kernel cache", ours=once[1], unit="s", budget=FIRST_FORECAST_S),
        Row(what=f"of it compiling ({count} times)", ours=once[2], unit="s"),
        *(
            Row(what=f"  {kernel.name} ({kernel.times} x)", ours=Spread(kernel.seconds, kernel.seconds, kernel.seconds), unit="s")
            for kernel in cold.kernels[:_DEAREST]
        ),
        Row(what="crypy up to its page, warm kernel cache", ours=Spread.of([one.page_s for one in warm]), unit="s"),
        Row(
            what="crypy up to its first forecast, warm kernel cache", ours=Spread.of([one.forecast_s for one in warm]), unit="s",
            budget=FIRST_FORECAST_S,
        ),
    ]  # fmt: skip
    rows += [
        Row(what="peak memory until then", ours=Spread.of([one.peak_mb for one in started]), unit="MB", budget=1_500.0),
        Row(what="cores in use while running", ours=Spread.of([one.cores for one in warm]), unit=""),
    ]
    again = [float(sum(kernel.times for kernel in one.kernels)) for one in warm]
    rows.append(Row(what="compilations with a warm cache", ours=Spread.of(again), unit="", budget=0.0))
    return rows


def measure(effort: float) -> list[Row]:
    small = "[data]\nhistory_days = 1.0\n[simulator]\ntrades_per_day = 9000\n" if effort < 1.0 else ""
    return [*imports(effort), *first_forecasts(small, scaled(3, effort), scaled(10, effort))]
