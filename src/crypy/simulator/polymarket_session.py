"""One client's connection to the simulated market channel: its tokens, and what is done to it on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from picows import WSFrame, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.simulator.faults import Faults
from crypy.simulator.struck_socket import Later, StruckSocket

TARGET: Final = "polymarket.stream"
RUBBISH: Final = b'{"event_type":"book","asset_id":"\xff\xfe,,,'


class MarketSocket(StruckSocket):
    """A connection. `tokens` are those it asked for; `wants_more` is the venue's `custom_feature_enabled`."""

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        books: Callable[[Iterable[str]], bytes],
        on_open: Callable[[MarketSocket], None],
        on_closed: Callable[[MarketSocket], None],
        later: Later,
    ) -> None:
        super().__init__(clock, faults, TARGET, RUBBISH, later)
        self.tokens: set[str] = set()
        self.wants_more = False
        self._books, self._on_open, self._on_closed = books, on_open, on_closed

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
