"""An installation on a real socket, and a signed-in Chromium."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from api_installation import Installation, open_installation
from served_pages import ServedPages, serve_pages

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
async def rota() -> AsyncIterator[Installation]:
    """An installation without jobs."""
    async with open_installation() as installation:
        yield installation


@pytest.fixture
async def pages(rota: Installation) -> AsyncIterator[ServedPages]:
    """The installation, served."""
    async with serve_pages(rota) as served:
        yield served


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A Chromium without a window."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        await chromium.close()


@pytest.fixture
async def context(browser: Browser, pages: ServedPages) -> AsyncIterator[BrowserContext]:
    """A signed-in browser window."""
    opened = await browser.new_context(viewport={"width": 1280, "height": 800})
    yield opened
    await opened.close()


@pytest.fixture
async def page(context: BrowserContext, pages: ServedPages) -> AsyncIterator[Page]:
    """A signed-in page; whatever the browser complains of fails the test."""
    tab = await context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    await tab.goto(await pages.login_link("/jobs"))
    await tab.wait_for_url("**/jobs")
    yield tab
    assert complaints == []
