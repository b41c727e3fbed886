"""The page in a real browser: it filters, follows the pushed values in place, and shows at once when it is alone."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from page_kit import Served

from crypy.testing.reports import MadeUpReports

pytestmark = pytest.mark.browser


def slugs(page: Any) -> list[str]:
    return page.eval_on_selector_all("tbody tr", "rows => rows.map(row => row.cells[1].title)")


def column(page: Any, name: str, group: str) -> int:
    """Index of a column by its name below a group's heading."""
    return page.evaluate(
        """([name, group]) => {
            let start = 0;
            for (const th of document.querySelectorAll("thead .groups th")) {
                const names = [...document.querySelectorAll("thead .columns th")].map(each => each.textContent);
                if (th.textContent === group) return names.indexOf(name, start);
                start += th.colSpan;
            }
        }""",
        [name, group],
    )


def test_filters_are_or_inside_a_group_and_across_and_live_in_the_address(
    served: Served[MadeUpReports], open_page: Any
) -> None:
    page = open_page(served.url)
    everything = slugs(page)
    assert len(everything) == 60
    page.get_by_role("button", name="BTC", exact=True).click()
    page.get_by_role("button", name="SOL", exact=True).click()
    page.get_by_role("button", name="5m", exact=True).click()
    assert {slug.split("-")[0] for slug in slugs(page)} == {"btc", "sol"}
    assert len(slugs(page)) == 6
    page.get_by_role("button", name="running", exact=True).click()
    assert len(slugs(page)) == 2
    page.get_by_role("button", name="open", exact=True).click()
    assert page.evaluate("location.hash") == "#coin=BTC,SOL&duration=5m&bets=open&interval=running"
    assert page.inner_text("#count") == "2 of 60 markets"
    again = open_page(served.url + page.evaluate("location.hash"))
    assert slugs(again) == slugs(page)
    assert again.get_by_role("button", name="SOL", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="show all").click()
    assert slugs(page) == everything
    assert page.complaints == []


def test_values_change_in_place_and_rows_are_not_rebuilt(served: Served[MadeUpReports], open_page: Any) -> None:
    page = open_page(served.url + "#coin=BTC&duration=1d&interval=running")
    page.evaluate("document.querySelector('tbody tr').dataset.mine = 'yes'")
    price = column(page, "price", "Price and probability")
    cell = f"tbody tr[data-mine] td:nth-child({price + 1})"
    before = page.inner_text(cell)
    assert before == f"{served.reports.prices['BTC']:,.2f}"
    served.reports.prices["BTC"] *= 1.01
    page.wait_for_function(
        "([cell, before]) => document.querySelector(cell).textContent !== before", arg=[cell, before]
    )
    assert page.inner_text(cell) == f"{served.reports.prices['BTC']:,.2f}"
    assert page.inner_text("article.coin .price") == f"{served.reports.prices['BTC']:,.2f}"


def test_times_are_local_with_utc_in_the_tooltip(served: Served[MadeUpReports], open_page: Any) -> None:
    page = open_page(served.url + "#coin=BTC&duration=5m&interval=running")
    start = f"tbody tr td:nth-child({column(page, 'start', 'Window') + 1})"
    title = page.get_attribute(start, "title")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:00 UTC", title)
    hour, minute = title[11:13], title[14:16]
    assert page.inner_text(start) == f"{(int(hour) - 4) % 24:02d}:{minute}"


def test_stale_and_simulated_rows_say_so_and_why(served: Served[MadeUpReports], open_page: Any) -> None:
    page = open_page(served.url + "#coin=SOL&duration=15m&interval=running")
    note = f"tbody tr.stale td:nth-child({column(page, 'what and why', 'Decision') + 1})"
    assert page.inner_text(note) == "stale: book 12 s old, limit 5 s"
    assert page.inner_text("tbody tr .badge") == "sim"
    assert page.is_visible("#simulated")


def test_every_column_that_was_asked_for_has_its_heading(served: Served[MadeUpReports], open_page: Any) -> None:
    page = open_page(served.url)
    asked = {
        "Market": ["coin", "duration"],
        "Window": ["bets", "interval", "start", "end"],
        "Price and probability": ["reference", "source", "price", "P(up)"],
        "Book": ["bid", "ask"],
        "Own orders and tokens": ["own bid", "own ask", "Up", "Down", "Up $", "Down $"],
        "Money and fees": ["net $", "taker fee", "maker fee", "exponent", "maker reward"],
        "To this window's end": ["scale bp", "skew", "tail", "horizon"],
        "To the next window's end": ["scale bp", "skew", "tail", "horizon"],
        "Ages": ["price", "forecast", "book"],
    }
    for group, names in asked.items():
        for name in names:
            assert column(page, name, group) >= 0, (group, name)
    link = page.get_attribute("tbody tr a", "href")
    assert link.startswith("https://example.org/event/btc-updown-5m-")


def test_what_a_venue_sends_is_only_ever_text(served: Served[MadeUpReports], open_page: Any) -> None:
    served.reports.link_base = "javascript:document.title='owned'//"
    served.reports.faults = ("<img src=x onerror=\"document.title='owned'\"> is what the venue said",)
    page = open_page(served.url)
    assert page.query_selector("tbody a") is None
    assert page.query_selector("#faults img") is None
    assert page.inner_text("#faults").startswith("<img src=x")
    assert page.title() == "crypy"


def test_a_lost_connection_is_shown_at_once(served: Served[MadeUpReports], open_page: Any) -> None:
    page = open_page(served.url)
    page.wait_for_selector("body[data-link=live]")
    served.stop()
    page.wait_for_selector("body[data-link=lost]", timeout=5_000)
    assert "connection lost, shown is" in page.inner_text("#link")


def test_the_pin_and_head_stay_and_the_page_itself_does_not_scroll_sideways(
    served: Served[MadeUpReports], open_page: Any
) -> None:
    page = open_page(served.url)
    page.evaluate("Object.assign(document.querySelector('.scroller'), {scrollLeft: 900, scrollTop: 400})")
    boxes = page.evaluate(
        """() => {
            const area = document.querySelector(".scroller").getBoundingClientRect();
            const head = document.querySelector("thead .columns th").getBoundingClientRect();
            return {page: document.documentElement.scrollWidth, head: head.top - area.top, pin: head.left - area.left};
        }"""
    )
    assert boxes["page"] == 1280
    assert 0 <= boxes["head"] < 40
    assert boxes["pin"] == 0


def test_the_fan_draws_the_quantiles_of_the_forecast(served: Served[MadeUpReports], open_page: Any) -> None:
    stats = pytest.importorskip("arch.univariate.distribution")
    page = open_page(served.url)
    for skew, tail in [(0.0, 5.0), (-0.3, 4.0), (0.2, 30.0)]:
        drawn = page.evaluate("async ([s, t]) => (await import('/fan.js')).quantiles(s, t)", [skew, tail])
        reference = stats.SkewStudent().ppf([0.05, 0.25, 0.75, 0.95], [tail, skew])
        assert all(math.isclose(a, b, abs_tol=0.02) for a, b in zip(drawn, reference, strict=True))


def test_a_picture_is_taken_where_one_is_asked_for(served: Served[MadeUpReports], open_page: Any) -> None:
    """With CRYPY_SHOT=folder set, leaves pictures of the page there; always checks that something was drawn."""
    page = open_page(served.url)
    for _ in range(8):
        served.reports.advance(20)
        page.wait_for_timeout(130)
    inked = page.evaluate(
        """() => [...document.querySelectorAll(".coin canvas")].map(canvas => canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0))"""
    )
    assert inked == [True] * 4
    folder = os.environ.get("CRYPY_SHOT")
    if folder:
        page.screenshot(path=str(Path(folder) / "dashboard.png"))
