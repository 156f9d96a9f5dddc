"""Chromium without a screen, for what people look at."""

import shutil
from contextlib import contextmanager

import pytest

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --window-size=1100,1200""".split()

needs_chromium = pytest.mark.skipif(
    not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"
)


@contextmanager
def a_browser(**logged):
    """A driver; `logged` are the kinds of its logs with their levels."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", logged)
    for flag in FLAGS:
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options, service)
    try:
        yield browser
    finally:
        browser.quit()
