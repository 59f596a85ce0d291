"""The first minute: a fresh folder, `rota up`, the printed link, and a run whose log comes in as it is written."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect
from repo_scripts import load_script

START_SECONDS = 30.0
LIVE_SECONDS = 30.0
LINK = re.compile(r"http://127\.0\.0\.1:\d+/login\?code=\S+")


class FirstMinute:
    """`rota up` as somebody starts it who has never done so."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "up.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("rota")), "up", "--no-open", "--port", "0"],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
            )

    def link(self) -> str:
        """The printed login link."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := LINK.search(self.log.read_text()):
                return found.group()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        """Ctrl-C; the second one does not wait for the job that runs."""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
            return self._process.wait(timeout=30)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[FirstMinute]:
    running = FirstMinute(tmp_path)
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
async def test_the_printed_link_shows_a_live_log_within_a_minute(started: FirstMinute) -> None:
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
