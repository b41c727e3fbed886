"""One client's websocket connection to the simulated Binance: its subscriptions, its limits, and what is done to it on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import Faults
from crypy.simulator.struck_socket import Later, StruckSocket

RUBBISH = b'{"e":"trade","s":"BTC\xff\xfe,,,'


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """The venue's rules of its streams. Seconds of wall time, except `life_s`, which is the clock's."""

    ping_s: float = 20.0
    pong_s: float = 60.0
    life_s: float = 86_400.0
    messages_per_s: int = 5
    streams: int = 1_024
    goodbye_s: float = 5.0
    check_s: float = 1.0
    pump_wall_s: float = 0.0005


class Session(StruckSocket):
    """One connection. `streams` holds what it has subscribed to, known to the source or not, in the order of asking."""

    def __init__(
        self,
        *,
        clock: Clock,
        faults: Faults,
        target: str,
        limits: StreamLimits,
        speed: float,
        is_combined: bool,
        is_micro: bool,
        streams: list[str],
        on_open: Callable[[Session], None],
        on_closed: Callable[[Session], None],
        later: Later,
    ) -> None:
        super().__init__(clock, faults, target, RUBBISH, later)
        self.is_combined = is_combined
        self.is_micro = is_micro
        self.streams: dict[str, None] = dict.fromkeys(streams)
        self._limits, self._speed = limits, speed
        self._on_open, self._on_closed = on_open, on_closed
        self._opened_us = self._ponged_us = self._pinged_us = self._second_us = clock.now_us()
        self._messages = 0
        self._closing_us: int | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._on_open(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._transport = None
        self._on_closed(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        if self._closing_us is not None:
            return
        now_us = self._clock.now_us()
        if frame.msg_type == WSMsgType.PONG:
            self._ponged_us = now_us
        if not self._may_talk(now_us):
            self.close(1008, "Too many requests")
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.send(self._answer(frame.get_payload_as_bytes()))

    def send(self, data: bytes) -> None:
        """Write one text frame, unless the connection is gone, stalled or about to end."""
        if self._closing_us is None:
            super().send(data)

    def keep_alive(self, now_us: int) -> None:
        """Ping when due; end the connection when its pongs stay out or its life is over."""
        wall_us = US_PER_S * self._speed
        if self._transport is None:
            return
        if self._closing_us is not None:
            if now_us - self._closing_us >= self._limits.goodbye_s * wall_us:
                self.abort()
        elif now_us < self._silent_until_us:
            # No ping was sent, so no pong can be missed.
            self._ponged_us = now_us
        elif now_us - self._opened_us >= self._limits.life_s * US_PER_S:
            self.close(1001, "connection has lived its 24 hours")
        elif now_us - max(self._ponged_us, self._opened_us) >= self._limits.pong_s * wall_us:
            self.close(1008, "Pong timeout")
        elif now_us - self._pinged_us >= self._limits.ping_s * wall_us:
            self._pinged_us = now_us
            self._transport.send_ping(str(now_us // 1_000).encode())

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; the line is cut when the client has answered, or when it has not for too long."""
        if self._transport is not None and self._closing_us is None:
            self._closing_us = self._clock.now_us()
            self._transport.send_close(WSCloseCode(code), reason.encode())

    def _may_talk(self, now_us: int) -> bool:
        """Whether this message is within the allowance of the running second (of wall time)."""
        if now_us - self._second_us >= US_PER_S * self._speed:
            self._second_us, self._messages = now_us, 0
        self._messages += 1
        return self._messages <= self._limits.messages_per_s

    def _answer(self, text: bytes) -> bytes:
        try:
            request: Any = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            return _error(3, f"Invalid JSON: {error}")
        if not isinstance(request, dict) or "method" not in request:
            return _error(2, "Invalid request: missing field `method` at line 1 column 1")
        params: Any = request.get("params", [])
        number: Any = request.get("id")
        names = [name for name in params if isinstance(name, str)] if isinstance(params, list) else []
        match request["method"]:
            case "SUBSCRIBE":
                if len(self.streams.keys() | set(names)) > self._limits.streams:
                    return _error(2, f"Invalid request: too many streams, at most {self._limits.streams}")
                self.streams.update(dict.fromkeys(names))
                return _result(None, number)
            case "UNSUBSCRIBE":
                for name in names:
                    self.streams.pop(name, None)
                return _result(None, number)
            case "LIST_SUBSCRIPTIONS":
                return _result(list(self.streams), number)
            case "SET_PROPERTY":
                if isinstance(params, list) and len(params) == 2 and params[0] == "combined":
                    self.is_combined = bool(params[1])
                    return _result(None, number)
                return _error(2, "Invalid request: unknown property")
            case "GET_PROPERTY":
                return _result(self.is_combined, number)
            case unknown:
                return _error(2, f"Invalid request: unknown variant `{unknown}`")


def _result(value: object, number: object) -> bytes:
    return msgspec.json.encode({"result": value, "id": number})


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": message})
