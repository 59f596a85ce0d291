"""The first minute: a fresh folder, `rota up`, the printed link, and a run whose log comes in as it is written."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect
from repo_scripts import load_script
from started_rota import StartedRota

LIVE_SECONDS = 30.0


@pytest.fixture
def started(tmp_path: Path) -> Iterator[StartedRota]:
    running = StartedRota(tmp_path)
    yield running
    running.stop()


async def sees_a_live_log(page: Page, link: str) -> str:
    """Open the link, go to the run that is under way, see its first line and then one more; the run's address."""
    await page.goto(link)
    await page.get_by_role("link", name="hello").first.click()
    await page.wait_for_url("**/jobs/demo/hello")
    await page.locator("a[href^='/r/']").first.click()
    await page.wait_for_url("**/r/*")
    lines = page.locator("#log-lines")
    await expect(lines).to_contain_text("Hello!", timeout=LIVE_SECONDS * 1000)
    before = await page.locator("#log-lines .line").count()
    await expect(page.locator("#log-lines .line").nth(before)).to_be_visible(timeout=LIVE_SECONDS * 1000)
    return page.url


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("default")
async def test_the_printed_link_shows_a_live_log_within_a_minute(started: StartedRota) -> None:
    begin = time.monotonic()
    chromium = load_script("set_up").find_browser()
    assert chromium is not None, "Chromium is missing: apt-get install chromium"
    link = started.link()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context()
        page = await context.new_page()
        run = await sees_a_live_log(page, link)
        seen = time.monotonic() - begin
        stranger = await (await browser.new_context()).new_page()
        await stranger.goto(link)
        await expect(stranger.locator("body")).not_to_contain_text("demo/hello")
        await stranger.goto(run)
        await expect(stranger.locator("#log-lines")).to_have_count(0)
        await browser.close()
    assert seen < 60, f"the first minute took {seen:.0f} s"
