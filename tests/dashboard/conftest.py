"""Chromium, and dashboards for it to look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_kit import Served

from crypy.testing.direction_reports import MadeUpDirections
from crypy.testing.reports import MadeUpReports

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def served() -> Iterator[Served[MadeUpReports]]:
    dashboard = Served(MadeUpReports())
    dashboard.start()
    yield dashboard
    dashboard.stop()


@pytest.fixture
def served_directions() -> Iterator[Served[MadeUpDirections]]:
    dashboard = Served(MadeUpDirections())
    dashboard.start()
    yield dashboard
    dashboard.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[[str], Any]]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, timezone_id="America/New_York", locale="en-GB"
    )

    def open_url(url: str) -> Any:
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(url)
        page.wait_for_selector("tbody tr")
        return page

    yield open_url
    context.close()
