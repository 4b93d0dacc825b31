"""Chromium without a network, and what is looked at in a page: requests, texts that overlap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OVERLAPS = """
const boxes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const words = node.textContent.trim(), parent = node.parentElement;
  if (!words || parent.closest("script,style,title")) continue;
  if (!parent.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const upright = parent.closest("[transform^=rotate]");
  const rects = parent.tagName === "text" && upright
    ? [parent.getBoundingClientRect()] : range.getClientRects();
  for (const r of rects) {
    // The line of a letter is higher than the letter.
    const less = (r.bottom - r.top) * 0.14;
    if (r.width > 0.5 && r.height > 0.5) {
      boxes.push([words.slice(0, 40), r.left + 0.5, r.top + less, r.right - 0.5, r.bottom - less]);
    }
  }
}
const found = [];
boxes.sort((a, b) => a[2] - b[2]);
for (let n = 0; n < boxes.length && found.length < 20; n++) {
  for (let m = n + 1; m < boxes.length && boxes[m][2] < boxes[n][4]; m++) {
    const [a, b] = [boxes[n], boxes[m]];
    if (a[1] < b[3] && b[1] < a[3]) found.push(`${a[0]} | ${b[0]}`);
  }
}
return [found, boxes.length];
"""
"""Gives the texts that overlap where they are seen, and how many texts there are."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a Chromium that reaches no network; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    # Of its own it asks for updates and the like.
    for word in ("--disable-background-networking", "--disable-component-update"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    try:
        opened.execute_cdp_cmd("Network.enable", {})
        off = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        opened.execute_cdp_cmd("Network.emulateNetworkConditions", off)
        yield Browser(opened)
    finally:
        opened.quit()


class Browser:
    """A page of a Chromium, as tests look at it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, width: int = 1280, height: int = 900, **media: str) -> None:
        """Load a file at a size, in `media` such as `prefers_color_scheme="dark"`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        asked = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items() if k != "type"]
        emulated = {"media": media.get("type", ""), "features": asked}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened, but its own.

        What the policy of the page has stopped was not: the page has only tried to.
        """
        asked = {}
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            about = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                asked[about["requestId"]] = about["request"]["url"]
            elif message["method"] == "Network.loadingFailed" and about.get("blockedReason"):
                asked.pop(about["requestId"], None)
        own = self.driver.current_url.partition("#")[0]
        return [url for url in asked.values() if url != own and not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Return what the browser has complained about since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def overlaps(self) -> tuple[list[str], int]:
        """Return the pairs of texts that overlap, and how many texts were looked at."""
        found, count = self.run(OVERLAPS)
        return found, count

    def shot(self, path: Path | None = None) -> bytes:
        """Return a picture of the whole page as PNG, and write it where a path is named."""
        import base64

        size = self.run("return [document.documentElement.scrollHeight, innerWidth]")
        clip = {"x": 0, "y": 0, "width": size[1], "height": min(size[0], 16000), "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        content = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]
        picture = base64.b64decode(content)
        if path is not None:
            path.write_bytes(picture)
        return picture

    def point(self, selector: str, across: float, down: float, press: bool = False) -> None:
        """Move the pointer to a share of an element's box, and click there where asked."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block:'center'})", selector)
        box = self.run(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height]",
            selector,
        )
        x, y = box[0] + across * box[2], box[1] + down * box[3]
        self.mouse("mouseMoved", x, y)
        if press:
            self.mouse("mousePressed", x, y)
            self.mouse("mouseReleased", x, y)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Send an event of the mouse."""
        asked = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        if kind == "mouseMoved":
            asked |= {"button": "none"}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", asked)

    def tip(self) -> str:
        """Return what is told of the place that is pointed at; nothing where nothing is."""
        script = (
            "const tip = document.getElementById('tip');"
            "return getComputedStyle(tip).display === 'none' ? '' : tip.textContent"
        )
        return str(self.run(script))
