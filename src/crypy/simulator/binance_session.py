"""One client's websocket connection to the simulated Binance: its subscriptions, its limits, and what is done to it on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import FRAME_FAULTS, Faults

RUBBISH = b'{"e":"trade","s":"BTC\xff\xfe,,,'
_FOR_EVER_US = 1 << 62


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


class Session(WSListener):
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
        later: Callable[[float, Session, bytes], None],
    ) -> None:
        super().__init__()
        self.is_combined = is_combined
        self.is_micro = is_micro
        self.streams: dict[str, None] = dict.fromkeys(streams)
        self._clock, self._faults, self._target = clock, faults, target
        self._limits, self._speed = limits, speed
        self._on_open, self._on_closed, self._later = on_open, on_closed, later
        self._transport: WSTransport | None = None
        self._opened_us = self._ponged_us = self._pinged_us = self._second_us = clock.now_us()
        self._messages = 0
        self._silent_until_us = 0
        self._held: bytes | None = None
        self._closing_us: int | None = None

    @property
    def pending_bytes(self) -> int:
        """What has been written and not yet taken by the socket."""
        transport = self._transport
        return 0 if transport is None else transport.underlying_transport.get_write_buffer_size()

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
        """Write one text frame, unless the connection is gone or stalled."""
        if self._transport is None or self._closing_us is not None:
            return
        if self._clock.now_us() >= self._silent_until_us:
            self._transport.send(WSMsgType.TEXT, data)

    def send_event(self, stream: str, data: bytes) -> None:
        """Write an event, or do to it what the faults in force say."""
        fault = self._faults.pick(self._target, FRAME_FAULTS, stream)
        if fault is None:
            self.send(data)
            if self._held is not None:
                held, self._held = self._held, None
                self.send(held)
            return
        match fault.kind:
            case "duplicate":
                self.send(data)
                self.send(data)
            case "delay":
                self._later(fault.delay_s, self, data)
            case "reorder":
                if self._held is not None:
                    self.send(self._held)
                self._held = data
            case "rubbish":
                self.send(RUBBISH)
            case "stall":
                wait_us = int(fault.delay_s * US_PER_S) or _FOR_EVER_US
                self._silent_until_us = self._clock.now_us() + wait_us
            case "close":
                self.close(1001, "fault injected")
            case "close_mid_frame":
                self._tear(data)
            case _:
                # drop: the event is never sent.
                pass

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

    def abort(self) -> None:
        """Hang up without a word."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def _tear(self, data: bytes) -> None:
        """Write the head of a frame and half of its body, and cut the line."""
        if self._transport is None:
            return
        size = len(data)
        head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
        raw = self._transport.underlying_transport
        raw.write(head + data[: size // 2])
        raw.close()

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
