"""Binding servers to ports, and saying clearly when that cannot be."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from picows import WSUpgradeResponse, WSUpgradeResponseWithListener

from crypy.domain.errors import ConfigError


async def bound_port(
    listen: Callable[[], Awaitable[asyncio.Server]], what: str, host: str, port: int
) -> tuple[asyncio.Server, int]:
    """The listening server and its port. Raises `ConfigError` naming the port when it cannot be had."""
    try:
        server = await listen()
    except OSError as error:
        raise _unavailable(error, what, host, port) from None
    return server, int(server.sockets[0].getsockname()[1])


async def serve_app(app: web.Application, what: str, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Run an HTTP application; its runner (to `cleanup`) and its port. Raises `ConfigError` when the port cannot be had."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise _unavailable(error, what, host, port) from None
    address: Any = runner.addresses[0]
    return runner, int(address[1])


def refused_handshake(status: int, retry_after_s: float | None) -> WSUpgradeResponseWithListener:
    """The answer to a websocket's handshake that says no."""
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:.0f}"}
    body = HTTPStatus(status).phrase.encode()
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, body, headers), None)


def _unavailable(error: OSError, what: str, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{what}: port {port} on {host} is in use; choose another, or 0 for any free one")
    return ConfigError(f"{what}: cannot listen on {host}:{port}: {error.strerror or error}")
