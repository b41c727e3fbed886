"""The simulator as a process: serves until a signal comes, or its parent is gone."""

from __future__ import annotations

import asyncio
import signal
import sys

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.times import iso
from crypy.simulator.server import serve
from crypy.simulator.settings import Ready, ServeSettings


def chosen_settings(text: str) -> ServeSettings:
    """Settings from the JSON a parent process gave. Raises `ConfigError` for what does not fit."""
    try:
        return msgspec.json.decode(text, type=ServeSettings)
    except msgspec.DecodeError as error:
        raise ConfigError(f"--settings: {error}") from None


def run_simulator(settings: ServeSettings, as_json: bool, with_parent: bool) -> None:
    """Serve until SIGINT or SIGTERM; with a parent, also until standard input closes."""
    asyncio.run(_serve(settings, as_json, with_parent))


async def _serve(settings: ServeSettings, as_json: bool, with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # A terminal's Ctrl-C reaches the whole group; a child leaves it to the parent to end things in order.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if with_parent and number == signal.SIGINT else stop.set)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    await serve(settings, stop, lambda ready: _tell(ready, as_json))


def _tell(ready: Ready, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(ready).decode(), flush=True)  # noqa: T201  the ready line is the command's result
        return
    lines = [
        f"a {ready.mode} market of {', '.join(ready.symbols)} at {iso(ready.epoch_us)}, {ready.speed:g} times as fast as the wall"
    ]
    lines += [f"  {name:<12} {url}" for name, url in ready.urls.items()]
    print("\n".join(lines), flush=True)  # noqa: T201  the command's result
