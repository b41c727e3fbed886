"""One client's connection to the simulated market channel: its tokens, and what is done to it on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import FRAME_FAULTS, Faults

TARGET: Final = "polymarket.stream"
RUBBISH: Final = b'{"event_type":"book","asset_id":"\xff\xfe,,,'
_FOR_EVER_US: Final = 1 << 62


class MarketSocket(WSListener):
    """A connection. `tokens` are those it asked for; `wants_more` is the venue's `custom_feature_enabled`."""

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        books: Callable[[Iterable[str]], bytes],
        on_open: Callable[[MarketSocket], None],
        on_closed: Callable[[MarketSocket], None],
        later: Callable[[float, MarketSocket, bytes], None],
    ) -> None:
        super().__init__()
        self.tokens: set[str] = set()
        self.wants_more = False
        self._clock, self._faults, self._books = clock, faults, books
        self._on_open, self._on_closed, self._later = on_open, on_closed, later
        self._transport: WSTransport | None = None
        self._silent_until_us = 0
        self._held: bytes | None = None

    @property
    def pending_bytes(self) -> int:
        """What has been written and not yet taken by the socket."""
        return 0 if self._transport is None else self._transport.underlying_transport.get_write_buffer_size()

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
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            text = frame.get_payload_as_bytes()
            if text == b"PING":
                self.send(b"PONG")
            else:
                self._answer(text)

    def send(self, data: bytes) -> None:
        """Write one text frame, unless the connection is gone or stalled."""
        if self._transport is not None and self._clock.now_us() >= self._silent_until_us:
            self._transport.send(WSMsgType.TEXT, data)

    def send_event(self, subject: str, data: bytes) -> None:
        """Write an event, or do to it what the faults in force say; `subject` is the market's name."""
        fault = self._faults.pick(TARGET, FRAME_FAULTS, subject)
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

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and hang up."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode(code), reason.encode())
            self._transport.disconnect()

    def abort(self) -> None:
        """Hang up without a word."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def _answer(self, text: bytes) -> None:
        """Books for what was asked for (faults may strike them, under the subject `books`), a complaint, or silence."""
        try:
            request: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict):
            self.send(b"INVALID OPERATION")
            return
        asked: Any = request.get("assets_ids", [])
        tokens = [token for token in asked if isinstance(token, str)] if isinstance(asked, list) else []
        if "custom_feature_enabled" in request:
            self.wants_more = bool(request["custom_feature_enabled"])
        if str(request.get("type", "")).lower() == "market" or request.get("operation") == "subscribe":
            self.tokens.update(tokens)
            self.send_event("books", self._books(tokens))
        elif request.get("operation") == "unsubscribe":
            self.tokens.difference_update(tokens)
        else:
            self.send(b"INVALID OPERATION")

    def _tear(self, data: bytes) -> None:
        """Write the head of a frame and half of its body, and cut the line."""
        if self._transport is None:
            return
        raw = self._transport.underlying_transport
        raw.write(bytes([0x81, 127]) + len(data).to_bytes(8, "big") + data[: len(data) // 2])
        raw.close()
