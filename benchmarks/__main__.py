"""`python -m benchmarks [name ...] [--quick] [--json FILE]`: run benchmarks, each in a process of its own, and print their tables.

`python -m benchmarks forecasts --help`: how good forecasts are, a benchmark of another sort.

Exit code 1 where a benchmark failed; a missed budget is shown and is no failure, for a busy machine misses budgets.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import msgspec

from benchmarks.machine import Foreign, machine, machine_line, wait_for_quiet
from benchmarks.results import Result, table

JOBS = (
    "ingest",
    "sync",
    "seconds",
    "candles",
    "features",
    "sequence",
    "windows",
    "distributions",
    "evaluation",
    "tick",
    "engines",
    "price_path",
    "decode",
    "books",
    "recorder",
    "orders",
    "dashboard",
    "direction",
    "startup",
)
HERE = Path(__file__).resolve().parent
QUICK = 0.15
_LONGEST_S = 600


def main() -> int:
    if sys.argv[1:2] == ["forecasts"]:
        return import_module("benchmarks.forecasts").main(sys.argv[2:])
    arguments = _arguments()
    effort = QUICK if arguments.quick else 1.0
    if arguments.child:
        _child(arguments.child, effort)
        return 0
    found = machine()
    print(machine_line(found), flush=True)
    results: list[Result] = []
    for name in arguments.names or JOBS:
        wait_for_quiet(0.0 if arguments.quick else 20.0)
        results.append(_run(name, arguments.quick))
        print(_shown(results[-1]), flush=True)
    path = arguments.json or HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        msgspec.json.format(msgspec.json.encode({"machine": found, "quick": arguments.quick, "results": results}))
    )
    print(f"\nwritten to {path}")
    return 1 if any(result.fault for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which to run: {', '.join(JOBS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="smaller data and fewer rounds: a look, not a measurement")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where to write the results (default: benchmarks/results/)"
    )
    parser.add_argument("--child", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in JOBS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(JOBS)}")
    return arguments


def _run(name: str, quick: bool) -> Result:
    """One benchmark in a child; a fault of it is told in its result and ends nothing."""
    command = [sys.executable, "-m", "benchmarks", "--child", name, *(["--quick"] if quick else [])]
    foreign, began = Foreign(), time.perf_counter()
    try:
        done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        return Result(name=name, about="", rows=[], fault=f"did not end within {_LONGEST_S} s")
    if done.returncode != 0 or not done.stdout.strip():
        return Result(
            name=name, about="", rows=[], fault=f"ended with exit code {done.returncode}; its words are above"
        )
    result = msgspec.json.decode(done.stdout.splitlines()[-1], type=Result)
    return msgspec.structs.replace(result, seconds=time.perf_counter() - began, foreign_cores=foreign.cores())


def _child(name: str, effort: float) -> None:
    job = import_module(f"benchmarks.{name}")
    rows = job.measure(effort)
    print(
        msgspec.json.encode(Result(name=name, about=(job.__doc__ or "").split("\n\n")[0].strip(), rows=rows)).decode()
    )


def _shown(result: Result) -> str:
    if result.fault:
        return f"\n{result.name}: {result.fault}"
    load = f"{result.seconds:.0f} s, others kept {result.foreign_cores:.2f} cores busy"
    return f"\n{result.name}: {result.about} ({load})\n\n{table(result.rows)}"


if __name__ == "__main__":
    sys.exit(main())
