"""Debian's Chromium, driven by Playwright, for tests of the page as a person sees it.

What a person would not see, but a developer would, is collected as ``faults``: errors and warnings of the console
(a violated Content-Security-Policy is one), uncaught exceptions, failed requests.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import BrowserContext, Page, Response, async_playwright

PATIENCE_MS: Final = 60_000
"""How long one awaited condition may take before the test is given up. Never part of what is asserted."""

_ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def browser_context(
    language: str = "en-US", width: int = 1200, height: int = 900
) -> AsyncIterator[BrowserContext]:
    """A browser with nothing remembered, for the length of a ``with`` block. Sizes in CSS pixels."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: `make test` installs it; on Debian and Ubuntu: apt-get install chromium"
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS) as browser,
        await browser.new_context(locale=language, viewport={"width": width, "height": height}) as context,
    ):
        context.set_default_timeout(PATIENCE_MS)
        yield context


def collect_faults(page: Page) -> list[str]:
    """What goes wrong on a page from now on; the list grows."""
    faults: list[str] = []

    def responded(response: Response) -> None:
        if response.status >= 400:
            faults.append(f"{response.status} for {response.url}")

    page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.on("response", responded)
    return faults
