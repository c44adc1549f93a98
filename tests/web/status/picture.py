"""Takes the picture of the status page that the documents show: ``make pictures``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from tests.servers import program
from tests.web.status.stage import in_trouble

PICTURE = Path(__file__).parents[3] / "docs" / "pictures" / "status-page.png"


async def take(path: Path) -> None:
    """Write the picture of a service in trouble to *path*."""
    async with in_trouble() as (_, url), async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox"]
        )
        try:
            page = await browser.new_page(viewport={"width": 1200, "height": 900})
            await page.goto(str(url / "debug" / "platform-http"))
            await page.screenshot(path=path, full_page=True)
        finally:
            await browser.close()


if __name__ == "__main__":
    asyncio.run(take(PICTURE))
    sys.stdout.write(f"{PICTURE}\n")
