"""The order book's public REST: a book, the venue's time, a market's parameters. A thin shell over a `Transport`."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.ports import HttpResponse, Transport
from crypy.domain.times import US_PER_S
from crypy.venues.polymarket.book_hash import require_proved
from crypy.venues.polymarket.messages import ClobBook, ClobMarket

_T = TypeVar("_T")
_TOO_MANY: Final = 429
# 425 is what the venue answers while its engine restarts.
_LATER: Final = frozenset({425, _TOO_MANY})


class ClobClient:
    """Public questions to the order book at `base_url`.

    Each raises `Unavailable` where asking again may help (with the venue's own wait if it named one), `Rejected` with the status as
    code where it will not, `Unreadable` for an answer that is none.
    """

    def __init__(self, transport: Transport, base_url: str, timeout_s: float = 10.0) -> None:
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s

    async def server_time_us(self) -> int:
        """The venue's time, to the second."""
        return await self._get("/time", int) * US_PER_S

    async def book(self, token_id: str) -> ClobBook:
        """The book of a token as it is now; `Unreadable` also for one that its own hash does not fit."""
        book = await self._get(f"/book?token_id={token_id}", ClobBook)
        require_proved(book)
        return book

    async def market(self, condition_id: str) -> ClobMarket:
        """A market's tick, minimum size, fee and taker delay."""
        return await self._get(f"/clob-markets/{condition_id}", ClobMarket)

    async def _get(self, path: str, kind: type[_T]) -> _T:
        url = self._base_url + path
        return read_answer(await self._transport.request("GET", url, timeout_s=self._timeout_s), url, kind)


def read_answer(response: HttpResponse, url: str, kind: type[_T]) -> _T:
    """The body as `kind`. Raises as `ClobClient` says."""
    if response.status != 200:
        raise refusal(response, url)
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{url}: {error} in {response.body[:120]!r}") from None


def refusal(response: HttpResponse, url: str) -> Unavailable | Rejected:
    """What an answer other than 200 means: come again later, or not at all."""
    text = response.body[:200].decode("utf-8", "replace")
    message = f"{url}: status {response.status}: {text}"
    if response.status in _LATER or response.status >= 500:
        return Unavailable(message, retry_after_s(response))
    return Rejected(message, str(response.status))


def retry_after_s(response: HttpResponse) -> float | None:
    """The wait in seconds that the venue asks for; `None` where it names none or names a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else None
