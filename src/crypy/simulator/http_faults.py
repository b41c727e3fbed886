"""Carrying out the faults of HTTP servers, the same for every simulated venue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from crypy.domain.ports import Clock
from crypy.simulator.faults import Fault, Faults

HTTP_FAULTS: Final = ("status", "delay", "truncate", "rubbish", "missing")
RUBBISH = b"<html><body>Gateway\xff\xfe"
Refusal = Callable[[int], bytes]


def fault_middleware(target: str, faults: Faults, clock: Clock, refusal: Refusal) -> Middleware:
    """An aiohttp middleware that does to requests what the faults in force say.

    `refusal` makes the body of an error status as this venue words it.
    """

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.pick(target, HTTP_FAULTS, request.path_qs)
        if fault is None:
            return await handler(request)
        match fault.kind:
            case "delay":
                await clock.sleep(fault.delay_s)
                return await handler(request)
            case "rubbish":
                return web.Response(body=RUBBISH, content_type="application/json")
            case "truncate":
                return await _truncated(request, await handler(request))
            case "missing":
                return web.Response(status=404, body=refusal(404), content_type="application/json")
            case _:
                return _status(fault, refusal)

    return strike


def _status(fault: Fault, refusal: Refusal) -> web.Response:
    headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
    body = refusal(fault.status)
    return web.Response(status=fault.status, body=body, headers=headers, content_type="application/json")


async def _truncated(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """Announce the whole length, send half, and cut the line."""
    if isinstance(whole, web.FileResponse):
        body = whole._path.read_bytes()  # pyright: ignore[reportPrivateUsage]
    elif isinstance(whole, web.Response) and isinstance(whole.body, bytes):
        body = whole.body
    else:
        return whole
    cut = web.StreamResponse(status=whole.status, headers={"Content-Type": whole.content_type})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    if request.transport is not None:
        # The half that was written must leave before the line is cut.
        request.transport.close()
    return cut
