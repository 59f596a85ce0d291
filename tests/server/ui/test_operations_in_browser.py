"""Workers and System in a real Chromium: who is there, how full, who leads what, and the hold that a person lifts."""

from datetime import timedelta
from typing import Any

import pytest
from api_installation import START, Installation
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect
from served_pages import ServedPages

from rota.core.model import Condition, RunState, Worker
from rota.core.model import Server as ServerRow
from rota.server.restore import CONDITION, FACT, SUSPECTED
from rota.store.sessions import Sign
from rota.store.vitals import Readings

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
HOSTILE = "<img src=x onerror=window.hacked=1>"


async def connect(rota: Installation, name: str, server: str = "s1", **more: Any) -> None:
    """A worker on record."""
    worker = Worker(
        name=name, boot_id="b", session=0, server=server, version="1.2.3", connected=START, last_seen=START,
        labels={"zone": "eu"}, capacity={"shell": 4, "http": 200}, cpus=8, memory=16 * 2**30,
    )  # fmt: skip
    await rota.store.sessions.connect(replace(worker, **more))


async def join(rota: Installation, name: str, seconds: float = 1000.0) -> None:
    """A server on record."""
    row = ServerRow(
        id=name, name=name, url=f"https://{name}.example.com", version="1.2.3", started=START, renewed=START,
        lease_until=START,
    )  # fmt: skip
    await rota.store.leases.join(row, seconds)


async def test_a_first_worker_is_taught_and_then_appears(page: Page, pages: ServedPages, rota: Installation) -> None:
    await join(rota, "s1")
    await page.get_by_role("link", name="Workers").click()
    await expect(page.locator(".empty")).to_contain_text("No worker yet")
    await expect(page.locator(".add code")).to_contain_text("rota worker --server http://127.0.0.1")
    await connect(rota, "w-1")
    rota.services.hints.publish("workers")
    row = page.locator("tr[data-worker='w-1']")
    await expect(row).to_contain_text("up")
    await expect(row).to_contain_text("zone=eu")
    await expect(row).to_contain_text("0/4")
    await expect(row).to_contain_text("8 cpus, 16.0 GiB")


async def test_how_full_workers_are_and_what_waits(page: Page, pages: ServedPages, rota: Installation) -> None:
    await join(rota, "s1")
    await connect(rota, "w-1")
    await connect(rota, "w-2")
    await connect(rota, "w-3", server="dead")
    await join(rota, "dead", 0.0)
    await rota.store.sessions.seen([Sign(name="w-2", at=START, draining=True, clock_offset=-7.25)])
    job = await rota.apply("web/page")
    await rota.add_run(job, START - timedelta(minutes=5), RunState.RUNNING)
    await rota.add_run(job, START - timedelta(minutes=3), RunState.QUEUED)
    await page.goto(pages.url + "/workers")
    await expect(page.locator(".count")).to_have_text("1 up · 1 draining · 1 lost")
    await expect(page.locator("tr[data-worker='w-1']")).to_contain_text("1/4")
    await expect(page.locator("tr[data-worker='w-2'] .over")).to_have_text("−7.2 s")
    await expect(page.locator("tr[data-worker='w-3'] .state")).to_contain_text("lost")
    await expect(page.locator(".waiting")).to_contain_text("1 due shell run waits for: a worker with room")
    await page.get_by_role("link", name="1 draining").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("#q").fill("zones:eu")
    await expect(page.locator("#list .problem")).to_contain_text("zones")
    await page.locator("#q").fill("name:w-1")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("#q").blur()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/workers/w-1")
    await expect(page.locator("h1")).to_contain_text("w-1")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.goto(pages.url + "/workers/nobody")
    await expect(page.locator("main")).to_contain_text("there is no worker nobody")


async def test_who_leads_what_is_seen_and_follows(page: Page, pages: ServedPages, rota: Installation) -> None:
    await rota.server.leaseholder.join()
    await join(rota, "s2")
    await join(rota, "s3", 0.0)
    rota.server.planner.lag = 42.0
    await rota.store.vitals.note("s2", Readings(clock_offset=-3.0, store_typical=0.004, store_slow=0.03, workers=7))
    await page.goto(pages.url + "/system")
    rows = page.locator(".servers tbody tr")
    await expect(rows).to_have_count(3)
    await expect(page.locator("h1")).to_contain_text("to look at")
    await expect(page.locator(".sub").first).to_contain_text("planner lag")
    second = page.locator("tr[data-server='s2']")
    await expect(second).to_contain_text("4.0 ms / 30 ms")
    await expect(second.locator(".over")).to_have_text("−3.0 s")
    await expect(page.locator("tr[data-server='s3']")).to_contain_text("gone")
    await expect(page.locator(".facts")).to_contain_text("1 of 1")
    await page.clock.install()
    await page.reload()
    await rota.store.vitals.note("s2", Readings(workers=99))
    await page.clock.run_for(6_000)
    await expect(second).to_contain_text("99")


async def test_what_stands_is_counted_and_listed_once(page: Page, pages: ServedPages, rota: Installation) -> None:
    await rota.server.leaseholder.join()
    await join(rota, "s2")
    await connect(rota, "w-1", server="s2")
    await rota.store.vitals.note("s2", Readings(clock_offset=-3.0))
    for key in ("alerts:mail", "alerts:slack", "server-clock/s2"):
        await rota.store.alerts.raise_condition(Condition(key=key, detail=f"{key} is wrong", since=START))
    await page.goto(pages.url + "/system")
    await expect(page.locator("h1")).to_contain_text("4 to look at")
    await expect(page.locator(".sub")).to_have_text("server: the server has not started · 3 conditions stand")
    await expect(page.locator(".condition")).to_have_count(3)
    await expect(page.get_by_text("alerts:slack is wrong")).to_have_count(1)
    await page.goto(pages.url + "/jobs")
    await expect(page.locator("main > .problem")).to_have_count(1)
    await page.get_by_role("link", name="and 2 more").click()
    await expect(page.get_by_text("alerts:slack is wrong")).to_be_in_viewport()


async def test_a_person_lifts_the_hold_after_a_restore(page: Page, pages: ServedPages, rota: Installation) -> None:
    await rota.store.leases.remember(FACT, SUSPECTED)
    hint = "at-most-once jobs are held; look at what they did since, then: rota doctor --accept-restore"
    trouble = Condition(key=CONDITION, detail="the database is older than what w-1 has seen", since=START, hint=hint)
    await rota.store.alerts.raise_condition(trouble)
    await page.goto(pages.url + "/system")
    await expect(page.locator(".condition")).to_contain_text("rota doctor --accept-restore")
    await page.get_by_role("button", name="Accept the restore").click()
    await expect(page.locator("#ask-effect")).to_contain_text("may be done again")
    await page.locator("#ask-yes").click()
    await expect(page.get_by_text("None stands.")).to_be_visible()
    await expect(page.get_by_role("button", name="Accept the restore")).to_have_count(0)
    assert not await rota.server.restore.refresh()


async def test_what_machines_say_is_text(page: Page, pages: ServedPages, rota: Installation) -> None:
    await rota.server.leaseholder.join()
    await connect(rota, "w-1", server=rota.server.id, labels={"zone": HOSTILE}, version=HOSTILE)
    await rota.store.vitals.note(rota.server.id, Readings(problems=(HOSTILE,)))
    for path in ("/workers", "/workers/w-1", "/system", "/workers?q=" + HOSTILE, "/workers/" + HOSTILE):
        await page.goto(pages.url + path)
        await expect(page.locator("main")).not_to_be_empty()
        assert await page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [360, 1280])
async def test_they_fit_any_window_and_have_names_for_everything(
    browser: Browser, pages: ServedPages, rota: Installation, width: int
) -> None:
    await rota.server.leaseholder.join()
    await connect(rota, "w-with-a-name-that-goes-on-and-on-and-on-and-on", server=rota.server.id)
    context = await browser.new_context(viewport={"width": width, "height": 740}, color_scheme="dark")
    tab = await context.new_page()
    await tab.goto(await pages.login_link("/workers"))
    await tab.wait_for_url("**/workers")
    for path in ("/workers", "/workers/w-with-a-name-that-goes-on-and-on-and-on-and-on", "/system"):
        await tab.goto(pages.url + path)
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width, path
        unnamed = "[...document.querySelectorAll('main svg:not([aria-hidden]):not([aria-label])')].length"
        assert await tab.evaluate(unnamed) == 0
        assert await tab.evaluate("document.querySelectorAll('main th:not([scope])').length") == 0
        assert await tab.locator("nav a[aria-current='page']").count() == 1
    await context.close()
