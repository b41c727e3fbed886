"""The machine that is measured on: what it is, and how busy others keep it."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("numpy", "numba", "msgspec", "isal", "polars", "duckdb", "pyarrow", "scipy")
_BUSY_BELOW = 0.3


def machine() -> dict[str, object]:
    """Processor, cores, memory, system and versions: what a figure is worth nothing without."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def machine_line(found: dict[str, object]) -> str:
    """The same in one line."""
    packages = found["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"{found['date']}: {found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, {found['system']}, "
        f"Python {found['python']}, {versions}"
    )


class Foreign:
    """How many cores processes other than this one and its ended children kept busy since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._busy_s = _busy_s() - _own_s()

    def cores(self) -> float:
        elapsed = time.perf_counter() - self._began
        return max(0.0, (_busy_s() - _own_s() - self._busy_s) / elapsed) if elapsed > 0 else 0.0


def wait_for_quiet(longest_s: float) -> None:
    """Return when others use less than a third of a core, or after so long."""
    give_up = time.monotonic() + longest_s
    while time.monotonic() < give_up:
        foreign = Foreign()
        time.sleep(0.5)
        if foreign.cores() < _BUSY_BELOW:
            return


def peak_mb(process: int | str = "self") -> float:
    """Greatest resident set of a process so far (unlike `ru_maxrss` not inherited over exec); NaN where the system does not tell."""
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return float("nan")


def cpu_s(process: int) -> float:
    """Processor seconds that a process has used so far; NaN where the system does not tell."""
    try:
        ticks = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except OSError:
        return float("nan")
    return sum(int(tick) for tick in ticks) / os.sysconf("SC_CLK_TCK")


def _busy_s() -> float:
    """CPU seconds that the whole machine has used since boot; 0 where the system does not tell."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _cpu() -> str:
    try:
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
