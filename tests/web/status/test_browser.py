"""The status page in a headless Chromium: on a phone, in the dark, and with nobody's help."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from PIL import Image
from playwright.async_api import async_playwright

from tests.servers import program
from tests.web.status.picture import PICTURE
from tests.web.status.stage import in_trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

PHONE = {"width": 360, "height": 740}

# Relative luminance and contrast as in WCAG 2.2, of everything that has text of its own.
_LOWEST_CONTRAST = """() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.body.querySelectorAll('*')].filter((element) =>
    [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
    && element.tagName !== 'METER');
  return Math.min(...texts.map((element) => {
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


@contextlib.asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    executable = program("chromium")
    # Its sandbox needs what a container does not give to root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


async def _fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def test_it_is_readable_on_a_phone_by_day_and_by_night_and_asks_nobody_else() -> None:
    complaints: list[str] = []
    requests: list[str] = []
    backgrounds = set()
    async with in_trouble() as (_, url), _browser() as browser:
        address = str(url / "debug" / "platform-http")
        for scheme in ("light", "dark"):
            page = await browser.new_page(viewport=PHONE, color_scheme=scheme)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            await page.goto(address)
            assert await _fits(page)
            for client in ("default", "billing", "inventory"):
                await page.get_by_role("navigation").get_by_role("link", name=client).click()
                section = page.get_by_role("region", name=f"Client {client}")
                assert await section.get_by_role("heading", name=client).is_visible()
                for summary in await section.locator("summary").all():
                    await summary.click()
            assert await page.get_by_role("cell", name="timeout.total").first.is_visible()
            assert await page.get_by_role("columnheader").count() > 20
            assert await _fits(page)
            assert await page.evaluate(_LOWEST_CONTRAST) >= 4.5
            for width in (800, 1000, 1600):
                await page.set_viewport_size({"width": width, "height": 900})
                assert await _fits(page)
            style = "getComputedStyle(document.body).backgroundColor"
            backgrounds.add(await page.evaluate(style))
            await page.close()
    assert complaints == []
    # A browser asks for an icon by itself.
    assert {each for each in requests if not each.endswith("/favicon.ico")} == {address}
    assert len(backgrounds) == 2


def test_its_picture_is_shown_and_not_blank() -> None:
    with Image.open(PICTURE) as picture:
        picture.load()
        assert picture.size[0] == 1200
        assert len(picture.convert("RGB").getcolors(maxcolors=2**16)) > 50
    assert PICTURE.stat().st_size < 400_000
    readme = (PICTURE.parents[2] / "README.md").read_text("utf-8")
    assert "](docs/pictures/status-page.png)" in readme
