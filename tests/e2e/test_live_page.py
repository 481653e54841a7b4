"""The page at ``/`` in a real browser: what it shows, whom it trusts, and what it does when the hub is gone."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import StartHub
from tests.e2e.support.browser import PATIENCE_MS, browser_context, collect_faults
from tests.e2e.support.hub_process import HubProcess, running_hub
from tests.e2e.support.plain_client import plain_client
from tests.e2e.support.recorded_day import recording
from tests.e2e.support.scripted_hub import HEARTBEAT_S, ScriptedHub

TOKEN: Final = "correct-horse-battery"  # noqa: S105 - of the hub under test
MARKET: Final = ("--symbols", "50", "--interval", "1", "--speed", "20", "--heartbeat-s", "0.2")
LONGEST_WAIT_MS: Final = 20_000
"""The longest that the page may wait before it connects again."""
CARDS_UP_TO: Final = 960
"""The width in CSS pixels up to which the columns have no headings."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with running_hub(*MARKET, log_file=tmp_path_factory.mktemp("live_page") / "hub.log") as hub:
        yield hub


def address(hub: HubProcess, fragment: str = "") -> str:
    return f"http://127.0.0.1:{hub.port}/{fragment}"


def priced_rows(page: Page) -> Locator:
    """The rows of instruments that have a price."""
    price = page.locator(".last", has_text=re.compile(r"\d"))
    return page.get_by_test_id("rows").get_by_role("row").filter(has=price)


async def shown_codes(page: Page) -> list[str]:
    codes: list[str] = await page.locator("[data-code]").evaluate_all("rows => rows.map(row => row.dataset.code)")
    return codes


async def expect_state(page: Page, state: str) -> None:
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", state)


async def test_the_page_says_that_the_market_is_simulated_and_shows_prices_that_move(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        faults = collect_faults(page)
        await page.goto(address(hub))
        await expect(page.get_by_test_id("banner")).to_contain_text("SIMULATED")
        await expect_state(page, "connected")
        await expect(priced_rows(page)).to_have_count(20)
        await expect(page.get_by_test_id("note")).to_have_text("Showing 20 of 50 instruments; 30 more match.")
        await page.wait_for_function(  # any price among those shown
            """() => {
                const now = [...document.querySelectorAll(".last")].map((cell) => cell.textContent).join();
                const before = (window.pricesBefore ??= now);
                return now !== before;
            }"""
        )
        await expect(page.locator("tr[data-code] .delay", has_text=re.compile(r"^\d+ ms$")).first).to_be_visible()
        for market in ("SH", "SZ", "BJ"):
            card = page.locator(f'[data-market="{market}"]')
            await expect(card).to_have_attribute("data-state", "live")
            await expect(card).to_contain_text("continuous trading")
        await expect(page.get_by_test_id("alarm")).to_be_hidden()
        assert faults == []


async def test_a_row_shows_what_the_hub_sent(hub: HubProcess) -> None:
    tick = {
        "code": "600000.SH", "seq": 7, "time": 1_654_047_005_000, "recv": 0, "lastPrice": 9.5, "lastClose": 10.0,
        "volume": 1234567, "askPrice": [9.5, 9.51], "bidPrice": [0.0, 0.0], "askVol": [1200, 3], "bidVol": [0, 0],
    }  # fmt: skip
    async with browser_context() as context:
        page = await context.new_page()
        await ScriptedHub(["600000.SH"], rows=[tick]).open(page, address(hub))
        cells = page.locator('[data-code="600000.SH"]').locator("th, td")
        await expect(cells).to_have_text(
            ["600000.SH", "9.50", "−5.00%", "–", "–", "9.50", "1,200", "1,234,567", "09:30:05", "–"]
        )
        await expect(page.locator('[data-code="600000.SH"]')).to_have_attribute("data-side", "down")


async def test_the_language_is_that_of_the_browser_and_can_be_changed(hub: HubProcess) -> None:
    async with browser_context(language="zh-CN") as context:
        page = await context.new_page()
        faults = collect_faults(page)
        await page.goto(address(hub))
        await expect(page.get_by_test_id("banner")).to_contain_text("模拟行情")
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator("th.last").first).to_have_text("最新价")
        await expect(page.locator('[data-market="SH"]')).to_contain_text("连续竞价")
        await page.get_by_role("button", name="English").click()
        await expect(page.get_by_test_id("banner")).to_contain_text("SIMULATED")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await expect(page.locator("th.last").first).to_have_text("Last")
        await expect(page.locator('[data-market="SH"]')).to_contain_text("continuous trading")
        await expect(page.get_by_test_id("connection")).to_have_text("Connected")
        assert re.findall("[\u3400-\u9fff]+", await page.locator("body").inner_text()) == ["中文"]
        assert faults == []


async def test_both_languages_have_words_for_the_same_things(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        await page.goto(address(hub))
        english, chinese = await page.evaluate(
            """async () => {
                const { TEXTS } = await import("/texts.js");
                const keys = (words) => Object.entries(words).flatMap(([key, word]) =>
                    typeof word === "object" ? keys(word).map((inner) => `${key}.${inner}`) : [key]);
                return [keys(TEXTS.en), keys(TEXTS["zh-CN"])];
            }"""
        )
        assert len(english) > 50
        assert chinese == english


async def test_what_is_typed_decides_which_instruments_are_shown(hub: HubProcess) -> None:
    async with plain_client(hub.ws_url) as client:
        listed = await client.request("topics", "topics", id=1, pattern="tick:60*.SH")
    expected = sorted(topic["topic"].removeprefix("tick:") for topic in listed["topics"])
    assert len(expected) > 1
    async with browser_context() as context:
        page = await context.new_page()
        faults = collect_faults(page)
        await page.goto(address(hub))
        await expect(priced_rows(page)).to_have_count(20)
        await page.get_by_test_id("watch").fill("000001.sz  60*.SH 000009.SH")
        await page.get_by_test_id("watch").press("Enter")
        await expect(priced_rows(page)).to_have_count(len(expected) + 1)
        # 000009.SH never spoke: it has its row all the same, and no price.
        assert await shown_codes(page) == ["000001.SZ", *expected, "000009.SH"]
        await page.reload()
        await expect(priced_rows(page)).to_have_count(len(expected) + 1)
        await page.get_by_test_id("watch").fill("600000")
        await page.get_by_test_id("watch").press("Enter")
        await expect(page.get_by_test_id("problem")).to_contain_text("an instrument is a code with its exchange")
        await expect(page.locator("[data-code]")).to_have_count(0)
        await page.get_by_test_id("watch").fill("")
        await page.get_by_test_id("watch").press("Enter")
        await expect(priced_rows(page)).to_have_count(20)
        await expect(page.get_by_test_id("problem")).to_be_hidden()
        assert faults == []


async def test_at_most_200_instruments_are_shown_and_the_page_says_how_many_more_match(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        scripted = ScriptedHub([f"{number}.SH" for number in range(600000, 600300)])
        await scripted.open(page, address(hub, "#watch=*"))
        await expect(page.get_by_test_id("note")).to_have_text("Showing 200 of 300 instruments; 100 more match.")
        await expect(page.locator("[data-code]")).to_have_count(200)
        await scripted.until(lambda: len(scripted.subscribed - {"status:*"}) == 200)
        await page.get_by_test_id("watch").fill("60000*.SH")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_test_id("note")).to_have_text("Showing 10 instruments.")
        await scripted.until(lambda: scripted.subscribed == {"status:*", *(f"tick:60000{n}.SH" for n in range(10))})


async def test_a_request_that_came_too_often_is_made_again_when_the_hub_says(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        scripted = ScriptedHub(["600000.SH"])
        scripted.refuses = 2
        await scripted.open(page, address(hub))
        await scripted.until(lambda: scripted.subscribed == {"tick:600000.SH", "status:*"})
        await expect(page.get_by_test_id("problem")).to_be_hidden()


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
async def test_nothing_is_cut_off_or_sticks_out_at_any_width(hub: HubProcess, language: str) -> None:
    tick = {
        "code": "688888.SH", "seq": 7, "time": 1_654_047_005_000, "recv": 0, "lastPrice": 1795.55, "lastClose": 1600.0,
        "volume": 12_345_678, "askPrice": [1795.55], "bidPrice": [1795.54], "askVol": [123_456], "bidVol": [123_456],
    }  # fmt: skip
    async with browser_context(language) as context:
        page = await context.new_page()
        await ScriptedHub(["688888.SH"], rows=[tick]).open(page, address(hub))
        await expect(priced_rows(page)).to_have_count(1)
        for width in (360, 700, 970, 1200):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") == width
            cells = page.locator("th, td" if width > CARDS_UP_TO else "tbody :is(th, td)")
            cut_off = await cells.evaluate_all(
                """cells => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.className)"""
            )
            assert cut_off == [], f"at {width} pixels"


async def test_a_stale_market_is_shown_loudly(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "500", "--speed", "60", "--faults", "silence@30+3600", "--heartbeat-s", "0.1")
    async with browser_context() as context:
        page = await context.new_page()
        await page.goto(address(hub))
        await expect(page.get_by_role("alert").filter(has_text="Shanghai is STALE")).to_be_visible()
        await expect(page.locator('[data-market="SH"]')).to_have_attribute("data-state", "stale")


async def test_a_recording_is_called_one_with_its_day(start_hub: StartHub) -> None:
    day = recording("ticks-20220601-szse.csv.gz")
    hub = start_hub("--source", "recording", "--recording", str(day), "--speed", "100")
    async with browser_context() as context:
        page = await context.new_page()
        await page.goto(address(hub))
        await expect(page.get_by_test_id("banner")).to_contain_text("RECORDING of 2022-06-01")
        await expect(priced_rows(page).first).to_be_visible()


async def test_the_token_is_asked_for_kept_in_the_tab_only_and_never_in_the_address(start_hub: StartHub) -> None:
    hub = start_hub(*MARKET, variables={"ARGUS_TOKEN": TOKEN})
    async with browser_context() as context:
        page = await context.new_page()
        faults = collect_faults(page)
        await page.goto(address(hub))
        field = page.get_by_label("This hub asks for a token")
        await field.fill("not-the-token")
        await field.press("Enter")
        await expect(page.get_by_test_id("token-note")).to_have_text("The hub did not accept this token.")
        await expect_state(page, "tokenNeeded")
        await field.fill(TOKEN)
        await field.press("Enter")
        await expect(priced_rows(page)).to_have_count(20)
        await expect(field).to_be_hidden()
        assert TOKEN not in page.url
        kept = await page.evaluate("[{...sessionStorage}, {...localStorage}, document.cookie]")
        assert kept == [{"argus.token": TOKEN}, {}, ""]
        await page.reload()
        await expect(priced_rows(page)).to_have_count(20)
        assert faults == []


async def test_when_the_hub_stops_the_page_says_so_and_comes_back_with_the_hub(start_hub: StartHub) -> None:
    hub = start_hub(*MARKET)
    async with browser_context() as context:
        page = await context.new_page()
        await page.goto(address(hub, "#watch=000001.SZ"))
        await expect(priced_rows(page)).to_have_count(1)
        await asyncio.to_thread(hub.stop)
        await expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting in")
        await expect(page.get_by_test_id("alarm")).to_have_text("Not connected: the prices below are old.")
        await expect(page.get_by_test_id("markets")).to_have_text("Not known")
        await asyncio.to_thread(start_hub, *MARKET, "--port", str(hub.port))
        await expect_state(page, "connected")
        await expect(page.get_by_test_id("alarm")).to_be_hidden()
        await expect(priced_rows(page)).to_have_count(1)
        assert await shown_codes(page) == ["000001.SZ"]


async def test_the_page_reconnects_and_subscribes_again_after_every_close_that_invites_it(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        await page.clock.install()
        scripted = ScriptedHub(["600000.SH"])
        await scripted.open(page, address(hub))
        for code in (1001, 1011, 1012, 4408, 4429):
            await scripted.until(lambda: scripted.subscribed == {"tick:600000.SH", "status:*"})
            await scripted.close(code)
            await expect_state(page, "reconnecting")
            await page.clock.fast_forward(LONGEST_WAIT_MS)
            await expect_state(page, "connected")
        assert scripted.connections == 6


async def test_the_page_does_not_reconnect_after_a_close_that_forbids_it(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        await page.clock.install()
        scripted = ScriptedHub(["600000.SH"])
        await scripted.open(page, address(hub))
        await expect_state(page, "connected")
        for code in (4400, 1007, 1009, 4403, 4409):
            await scripted.close(code, "so <b>be</b> it")
            await expect_state(page, "ended")
            await expect(page.get_by_test_id("connection")).to_contain_text(f"({code}: so <b>be</b> it). Not reconnect")
            await page.clock.fast_forward(2 * LONGEST_WAIT_MS)
            await page.get_by_role("button", name="Connect now").click()
            await expect_state(page, "connected")
        await scripted.close(4401, "token expired")
        await expect_state(page, "tokenNeeded")
        await page.clock.fast_forward(2 * LONGEST_WAIT_MS)
        await page.get_by_label("This hub asks for a token").fill(TOKEN)
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect_state(page, "connected")
        assert scripted.connections == 7


async def test_a_line_on_which_nothing_is_heard_counts_as_lost(hub: HubProcess) -> None:
    async with browser_context() as context:
        page = await context.new_page()
        await page.clock.install()
        scripted = ScriptedHub(["600000.SH"])
        await scripted.open(page, address(hub))
        await scripted.until(lambda: "tick:600000.SH" in scripted.subscribed)
        await expect_state(page, "connected")
        scripted.is_mute = True
        await page.clock.fast_forward(3 * HEARTBEAT_S * 1000 + 1000)
        await expect_state(page, "reconnecting")


async def test_text_of_the_hub_is_never_read_as_html(hub: HubProcess) -> None:
    evil = "<img src=x onerror=alert(1)>"
    async with browser_context() as context:
        page = await context.new_page()
        faults = collect_faults(page)
        scripted = ScriptedHub([evil], source=evil, market=evil)
        await scripted.open(page, address(hub))
        await expect(page.get_by_test_id("banner")).to_contain_text(evil)
        await expect(page.get_by_test_id("rows")).to_contain_text(evil)
        await expect(page.get_by_test_id("markets")).to_contain_text(evil)
        assert await page.locator("img").count() == 0
        assert faults == []
