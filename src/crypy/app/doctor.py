"""`crypy doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from crypy.app.folders import data_folder
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import CrypyError
from crypy.domain.times import US_PER_MS

State = Literal["ok", "warning", "failed"]

_LEAST_FREE_BYTES = 2_000_000_000
_MOST_OFFSET_MS = 500


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at, how it is, and what was seen."""

    what: str
    state: State
    seen: str


def report_health(config: Path | None, data_dir: Path | None, *, as_json: bool) -> int:
    """Look at everything and print it; 1 if something that crypy needs does not work."""
    settings, folder = load_settings(config), data_folder(data_dir)
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _python,
        _kernels,
        _jax,
        lambda: _disk(folder),
        _database,
        lambda: asyncio.run(_venues(settings)),
    )
    found = [finding for check in checks for finding in check()]
    failed = any(finding.state == "failed" for finding in found)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": msgspec.to_builtins(found)}))  # noqa: T201  the result
    else:
        for finding in found:
            print(f"{finding.state:<8} {finding.what:<12} {finding.seen}")  # noqa: T201  the result
    return int(failed)


def _python() -> list[Finding]:
    return [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")]


def _kernels() -> list[Finding]:
    """Compile (or load) a kernel and use it: numba and its cache work."""
    began = time.perf_counter()
    try:
        from crypy.distributions.skew_t import ZeroMeanSkewStudentT

        value = ZeroMeanSkewStudentT(1.0, 0.0, 4.0).cdf(0.0)
    except Exception as error:  # whatever numba raises on a machine it does not like is what is to be told
        return [Finding("kernels", "failed", f"{type(error).__name__}: {error}")]
    state: State = "ok" if abs(float(value) - 0.5) < 1e-12 else "failed"
    return [Finding("kernels", state, f"numba ready in {time.perf_counter() - began:.1f} s")]


def _jax() -> list[Finding]:
    """Start JAX where it is installed: on which devices it computes. A card that stands idle is a warning."""
    from crypy.app.forecast.devices import report_devices

    found = report_devices()
    if not found.installed:
        return [Finding("jax", "ok", found.hint)]
    state: State = "warning" if not found.backend or (found.hint and found.backend == "cpu") else "ok"
    return [Finding("jax", state, " · ".join(str(found).splitlines()))]


def _disk(folder: Path) -> list[Finding]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return [Finding("disk", "failed", f"{folder} cannot be written: {error.strerror}; choose another --data-dir")]
    state: State = "ok" if free >= _LEAST_FREE_BYTES else "warning"
    return [Finding("disk", state, f"{free / 1e9:.1f} GB free at {folder}")]


def _database() -> list[Finding]:
    from crypy.ledger.database import sqlite_module

    module = sqlite_module()
    return [Finding("database", "ok", f"SQLite {module.sqlite_version} from {module.__name__.partition('.')[0]}")]


async def _venues(settings: Settings) -> list[Finding]:
    """Ask each real venue for its time. Not reaching one is a warning: the simulator needs none."""
    from crypy.runtime.clocks import SystemClock
    from crypy.runtime.transport import NetTransport

    clock = SystemClock()
    found: list[Finding] = []
    async with NetTransport(clock) as transport:
        for name, url in (
            ("binance", settings.binance.rest_url + "/api/v3/time"),
            ("polymarket", settings.polymarket.clob_url + "/time"),
        ):
            try:
                asked_us = clock.now_us()
                answer = await transport.request("GET", url, timeout_s=5.0)
                ours_ms = (asked_us + clock.now_us()) / 2 / US_PER_MS
            except CrypyError as error:
                found.append(Finding(name, "warning", f"not reached: {error}"))
                continue
            found.append(_answered(name, answer.status, answer.body, ours_ms))
    return found


def _answered(name: str, status: int, body: bytes, ours_ms: float) -> Finding:
    if status != 200:
        return Finding(name, "warning", f"answered with status {status}")
    try:
        told = json.loads(body)
        theirs_ms = float(told["serverTime"]) if isinstance(told, dict) else float(told) * 1_000
    except (ValueError, KeyError, TypeError):
        return Finding(name, "warning", f"answered with what is no time: {body[:80]!r}")
    # Polymarket tells whole seconds: half of one is no offset.
    offset_ms = theirs_ms - ours_ms + (500 if not isinstance(told, dict) else 0)
    state: State = "ok" if abs(offset_ms) <= _MOST_OFFSET_MS else "warning"
    return Finding(name, state, f"reached; its clock is {offset_ms:+.0f} ms from ours")
