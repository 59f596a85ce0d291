"""The pages in a real Chromium: live lists, the live log, the keyboard, hostile text, narrow windows."""

from datetime import timedelta

import pytest
from api_installation import ADMIN, START, Installation
from playwright.async_api import Browser, Page, expect
from served_pages import ServedPages

from rota.core.model import Condition, Reason, RunState
from rota.core.run_state import Settle, advance
from rota.store.jobs import RunChange

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">{{7*7}}${jndi:x}'


async def test_an_empty_installation_teaches_the_first_job(page: Page) -> None:
    await expect(page.locator(".empty")).to_contain_text("No jobs yet")
    await expect(page.locator(".empty")).to_contain_text("rota apply")


async def test_jobs_appear_run_and_pause_without_a_reload(page: Page, rota: Installation) -> None:
    await rota.apply("web/page")
    row = page.locator("tr[data-job='web/page']")
    await expect(row).to_contain_text("every day at 03:00")
    await expect(page.locator("#live")).to_contain_text("live")
    await row.get_by_role("button", name="Run").click()
    await expect(page.locator(".toast")).to_contain_text("Run created")
    await expect(row.locator(".last")).to_contain_text("queued")
    await row.get_by_role("button", name="Pause").click()
    await page.locator("#ask-reason").fill("moving house")
    await page.locator("#ask-yes").click()
    await expect(row.locator(".state")).to_contain_text("paused")
    await expect(row.locator(".next")).to_contain_text("moving house")
    await row.get_by_role("button", name="Resume").click()
    await expect(row.locator(".state")).not_to_contain_text("paused")
    assert (await rota.store.jobs.get(["web/page"]))["web/page"].pause is None


async def test_a_run_that_is_not_yet_due_is_not_the_last(page: Page, rota: Installation) -> None:
    await rota.apply("web/page")
    ahead = START + timedelta(days=1)
    await rota.services.commands.trigger("web/page", params={}, key=None, at=ahead, actor=ADMIN)
    await page.reload()
    last = page.locator("tr[data-job='web/page'] .last")
    await expect(last).to_have_text("never ran")
    waiting = await rota.trigger("web/page")
    await page.reload()
    await expect(last.locator("a")).to_have_attribute("href", f"/r/{waiting.id}")


async def test_the_filter_follows_typing_and_says_what_it_does_not_know(page: Page, rota: Installation) -> None:
    await rota.apply("web/page", "finance/rates")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.keyboard.press("/")
    await page.keyboard.type("ns:finance")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody")).to_contain_text("rates")
    assert "q=ns%3Afinance" in page.url
    await page.locator("#q").fill("nss:finance")
    await expect(page.locator(".problem")).to_contain_text("did you mean ns")
    await page.locator("#q").fill("nothing-like-it")
    await expect(page.locator(".empty")).to_contain_text("No job matches")


async def test_the_keyboard_alone_reaches_a_run(page: Page, rota: Installation) -> None:
    await rota.apply("web/a", "web/b")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(page.locator("tr.at")).to_contain_text("b")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs/web/b")
    await page.keyboard.press("r")
    await page.wait_for_url("**/r/*")
    await page.keyboard.press("w")
    await expect(page.locator("#panel-why")).to_contain_text("started it by hand")
    await page.keyboard.press("c")
    await page.locator("#ask-yes").click()
    await expect(page.locator("h1 .chip")).to_contain_text("cancelled")
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()


async def test_a_running_log_is_followed_and_the_end_is_shown(
    page: Page, pages: ServedPages, rota: Installation
) -> None:
    await rota.apply("web/page")
    run = await rota.carry(await rota.trigger("web/page"), RunState.RUNNING)
    await rota.write(run, (0, b"\x1b[31mred\x1b[0m and \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \xff\n"))
    await page.goto(f"{pages.url}/r/{run.id}")
    lines = page.locator("#log-lines .line")
    await expect(lines).to_have_count(1)
    await expect(lines.first).to_contain_text("red and link �")
    assert await lines.first.locator("a").count() == 1
    await expect(lines.first.locator("i.f1")).to_have_text("red")
    await rota.write(run, (0, b"second\n"), (1, b"third\n"))
    rota.services.hints.publish(f"log:{run.id}")
    await expect(lines).to_have_count(3)
    await expect(page.locator("#log-follow")).to_be_checked()
    await page.locator("#log-stream").select_option("stderr")
    await expect(page.locator("#log-lines .line:visible")).to_have_count(1)
    await rota.carry_on(run, RunState.FAILED, error="exit 3")
    rota.services.hints.publish(f"run:{run.id}")
    await expect(page.locator("h1 .chip")).to_contain_text("failed")
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    await expect(lines).to_have_count(3)


async def test_a_failed_run_opens_at_its_first_error_in_a_long_log(
    page: Page, pages: ServedPages, rota: Installation
) -> None:
    job = await rota.apply("web/page")
    run = await rota.add_run(job, START - timedelta(hours=1), RunState.FAILED, error="exit 1", failures=1)
    await rota.write(run, *((0, b"line %d\n" % number) for number in range(3000)), attempt=2)
    await rota.write(run, (1, b"boom\n"), *((0, b"after %d\n" % number) for number in range(3000)), attempt=2)
    await page.goto(f"{pages.url}/r/{run.id}")
    marked = page.locator(".line.marked")
    await expect(marked).to_contain_text("boom")
    await expect(marked).to_be_in_viewport()
    assert await page.locator("#log-lines .line").count() < 1500
    await page.locator("#log-find").fill("line 17")
    await page.locator("#log-find").press("Enter")
    await expect(page.locator(".line.hit")).to_contain_text("line 17")
    await page.get_by_role("button", name="end", exact=True).click()
    await expect(page.locator("#log-lines .line").last).to_contain_text("after 2999")
    await page.locator("#log-lines").evaluate("(box) => { box.scrollTop = 0; }")
    await expect(page.locator("#log-place")).to_contain_text("lines 5002–6001 of 6001")
    await expect(page.locator(".waterfall rect")).not_to_have_count(0)


async def test_the_ledger_shows_the_newest_instants_in_full(page: Page, pages: ServedPages, rota: Installation) -> None:
    job = await rota.apply("web/page")
    for number in range(1, 251):
        await rota.add_run(job, START - timedelta(minutes=number), RunState.SKIPPED)
    await page.goto(f"{pages.url}/jobs/web/page")
    await expect(page.locator(".ledger li").first).to_contain_text("11:59:00")
    assert await page.locator(".ledger").evaluate("(list) => list.scrollHeight === list.clientHeight")
    await expect(page.locator(".older")).to_contain_text("rota runs -q job:web/page")
    corners = "(box) => getComputedStyle(box).borderBottomLeftRadius"
    assert await page.locator(".card .tablebox").evaluate(corners) == "9px"


async def test_the_run_that_a_sentence_names_is_one_click_away(
    page: Page, pages: ServedPages, rota: Installation
) -> None:
    job = await rota.apply("web/page")
    before = await rota.add_run(job, START - timedelta(hours=2), RunState.RUNNING)
    skipped = await rota.add_run(job, START - timedelta(hours=1), RunState.QUEUED)
    reason = Reason(code="OVERLAP_SKIP", params={"holder": before.id})
    settled = advance(skipped, Settle(state=RunState.SKIPPED, at=START, reason=reason))
    await rota.store.runs.record([RunChange(run=settled)], [], [])
    await page.goto(f"{pages.url}/runs")
    await expect(page.locator(f"tr[data-run='{skipped.id}'] .why a")).to_have_attribute("href", f"/r/{before.id}")
    await page.goto(f"{pages.url}/r/{skipped.id}")
    await page.locator(".sub a").click()
    await page.wait_for_url(f"**/r/{before.id}")


async def test_hostile_text_is_text_everywhere(page: Page, pages: ServedPages, rota: Installation) -> None:
    job = await rota.apply("web/page", title=HOSTILE, owner=HOSTILE, labels={"a": HOSTILE})
    run = await rota.add_run(job, START - timedelta(hours=1), RunState.FAILED, error=HOSTILE)
    await rota.write(run, (0, HOSTILE.encode() + b"\n"), (0, b"\x1b[31m" * 20_000 + HOSTILE.encode() + b"\n"))
    await rota.services.commands.trigger("web/page", params={"p": HOSTILE}, key=None, at=None, actor=ADMIN)
    for path in ("/jobs", "/jobs/web/page", f"/r/{run.id}", "/runs", "/runs?q=" + "text:<script>", "/jobs?q=<b>x"):
        await page.goto(pages.url + path)
        await expect(page.locator("h1").first).to_be_visible()
        assert await page.evaluate("window.hacked") is None
    await page.goto(f"{pages.url}/r/{run.id}")
    await expect(page.locator("#log-lines .line").first).to_contain_text("<script>")
    assert "49" not in await page.locator("#log-lines").inner_text()


async def test_a_narrow_window_needs_no_sideways_scrolling(
    browser: Browser, pages: ServedPages, rota: Installation
) -> None:
    job = await rota.apply("finance/a-job-with-a-rather-long-name-that-goes-on", title="and a title " * 6)
    run = await rota.add_run(job, START - timedelta(hours=1), RunState.FAILED, error="x" * 300)
    await rota.write(run, (0, b"y" * 500 + b"\n"))
    context = await browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    tab = await context.new_page()
    await tab.goto(await pages.login_link("/jobs"))
    await tab.wait_for_url("**/jobs")
    for path in ("/jobs", f"/jobs/{job.full_name}", "/runs", f"/r/{run.id}"):
        await tab.goto(pages.url + path)
        assert await tab.evaluate("document.documentElement.scrollWidth") <= 360, path
    await context.close()


async def test_a_login_link_survives_a_preview_and_works_without_scripts(
    browser: Browser, pages: ServedPages, rota: Installation
) -> None:
    link = await pages.login_link("/runs")
    context = await browser.new_context(java_script_enabled=False)
    tab = await context.new_page()
    await tab.goto(link)
    await tab.goto(link)
    await tab.get_by_role("button", name="Open Rota").click()
    await expect(tab.locator("h1")).to_have_text("Runs")
    await tab.get_by_role("button", name="Sign out").click()
    await expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
    await context.close()


async def test_a_lost_stream_is_admitted(page: Page, rota: Installation) -> None:
    await rota.apply("web/page")
    await expect(page.locator("#live")).to_have_attribute("data-state", "on")
    await page.clock.install()
    await page.reload()
    await expect(page.locator("#live")).to_be_visible()
    await page.context.set_offline(True)
    rota.services.hints.close()
    await expect(page.locator("#live")).to_have_attribute("data-state", "stale")
    await expect(page.locator("#live")).to_have_text("not connected")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".toast.error")).to_contain_text("The server does not answer.")
    await expect(page.locator(".toast.error")).to_contain_text("It is not certain that nothing was done")
    assert await rota.store.runs.unfinished([(await rota.store.jobs.get(["web/page"]))["web/page"].id]) == []
    await page.clock.run_for(60_000)
    await expect(page.locator("#nosignal")).to_contain_text("No signal since")
    await expect(page.locator("body")).to_have_class("gone")


async def test_where_nothing_is_a_person_gets_a_page_and_a_program_a_problem(
    page: Page, pages: ServedPages, rota: Installation
) -> None:
    answer = await page.goto(f"{pages.url}/nowhere/<b>x")
    assert answer is not None
    assert answer.status == 404
    await expect(page.locator(".empty")).to_contain_text("There is nothing at /nowhere/<b>x")
    await page.get_by_role("link", name="All jobs").click()
    await page.wait_for_url("**/jobs")
    for path, accept in (("/nowhere", "*/*"), ("/nowhere", "application/json"), ("/api/v1/nowhere", "text/html")):
        answered = await page.request.get(pages.url + path, headers={"Accept": accept})
        assert (answered.status, answered.headers["content-type"]) == (404, "application/problem+json")
    async with rota.client(None, Accept="text/html") as client:
        assert (await client.get("/nowhere?a=b")).headers["location"] == "/login?next=/nowhere%3Fa%3Db"


async def test_what_is_wrong_with_the_installation_stands_on_every_page(page: Page, rota: Installation) -> None:
    trouble = Condition(
        key="alerts:mail", detail="messages to mail:ops do not get through", since=START, hint="rota alerts"
    )
    await rota.store.alerts.raise_condition(trouble)
    for path in ("/jobs", "/runs"):
        await page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)
        await expect(page.locator("main .problem")).to_contain_text("do not get through")
