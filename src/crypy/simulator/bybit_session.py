"""One client's connection to the simulated Bybit's public stream: its topics, and the answers to its commands in the venue's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgspec
from picows import WSFrame, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.bybit_wire import Category
from crypy.simulator.faults import Faults
from crypy.simulator.struck_socket import Later, StruckSocket

TARGET: Final = "bybit.stream"
RUBBISH: Final = b'{"topic":"kline.1.BTC\xff\xfe,,,'


@dataclass(frozen=True, slots=True)
class BybitLimits:
    """The venue's rules of its streams. Seconds of wall time: they are about the socket.

    `silence_s`: so long without a word from the client, and the connection is cut. On spot a command names at most `spot_args` topics.
    The market is looked at every `pump_s`, every `idle_s` while nobody is there.
    """

    silence_s: float = 600.0
    spot_args: int = 10
    characters: int = 21_000
    check_s: float = 1.0
    pump_s: float = 0.005
    idle_s: float = 0.05


class BybitSession(StruckSocket):
    """A connection. `topics` holds what it has subscribed to, in order; false for an order book whose snapshot is still to come."""

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        category: Category,
        limits: BybitLimits,
        speed: float,
        fault_of: Callable[[str], str],
        on_open: Callable[[BybitSession], None],
        on_closed: Callable[[BybitSession], None],
        later: Later,
    ) -> None:
        super().__init__(clock, faults, TARGET, RUBBISH, later)
        self.category: Category = category
        self.topics: dict[str, bool] = {}
        self._limits, self._speed = limits, speed
        self._fault_of, self._on_open, self._on_closed = fault_of, on_open, on_closed
        self._heard_us = clock.now_us()
        self._id = str(uuid4())

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._on_open(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._transport = None
        self._on_closed(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        self._heard_us = self._clock.now_us()
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.send(self._answer(frame.get_payload_as_bytes()))

    def keep_alive(self, now_us: int) -> None:
        """Cut the connection of a client that has said nothing for too long."""
        if now_us - self._heard_us >= self._limits.silence_s * self._speed * US_PER_S:
            self.close(1000, "no ping")

    def _answer(self, text: bytes) -> bytes:
        try:
            request: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict):
            return self._say({}, "", False, "Request not authorized or malformed")
        op, asked = request.get("op"), request.get("args", [])
        match op:
            case "ping":
                return self._say(request, "ping", True, "pong")
            case "subscribe" | "unsubscribe":
                if not isinstance(asked, list) or not asked or not all(isinstance(one, str) for one in asked):
                    return self._say(request, op, False, "error:request args is empty or invalid")
                fault = self._subscribe(asked) if op == "subscribe" else self._unsubscribe(asked)
                done = "subscribe" if self.category == "spot" and op == "subscribe" else ""
                return self._say(request, op, not fault, fault or done)
            case _:
                return self._say(request, str(op or ""), False, f"error:unknown op {op}")

    def _subscribe(self, topics: list[str]) -> str:
        """All of them or none; the reason against, empty if there is none."""
        if self.category == "spot" and len(topics) > self._limits.spot_args:
            return f"args size >{self._limits.spot_args}"
        if sum(map(len, topics)) + sum(map(len, self.topics)) > self._limits.characters:
            return f"error:args of the connection exceed {self._limits.characters} characters"
        seen = set(self.topics)
        for topic in topics:
            if topic in seen:
                return f"error:already subscribed,topic:{topic}"
            seen.add(topic)
            fault = self._fault_of(topic)
            if fault:
                return fault
        self.topics.update({topic: not topic.startswith("orderbook.") for topic in topics})
        return ""

    def _unsubscribe(self, topics: list[str]) -> str:
        for topic in topics:
            self.topics.pop(topic, None)
        return ""

    def _say(self, request: dict[str, Any], op: str, success: bool, words: str) -> bytes:
        number = request.get("req_id")
        body: dict[str, Any] = {"success": success, "ret_msg": words, "conn_id": self._id}
        # Spot echoes the number of a request that has one; the derivatives' service always has the field.
        if number is not None or self.category == "linear":
            body["req_id"] = "" if number is None else number
        return msgspec.json.encode(body | {"op": op})
