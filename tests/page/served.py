"""A server and a browser for tests of the page: both real."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request


class Server:
    """`nosa serve` on a free port of this machine, until close()."""

    def __init__(self, program, model, *flags, patience=60):
        self.process = subprocess.Popen([program, "serve", "--model", model, "--port", "0", *flags],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                                        errors="replace")
        self.said = []
        self.ready = threading.Event()
        self.url = None
        threading.Thread(target=self.read, daemon=True).start()
        if not self.ready.wait(patience) or self.url is None:
            self.close()
            raise AssertionError("nosa serve did not begin to serve:\n" + "".join(self.said))

    def read(self):
        for line in self.process.stdout:
            self.said.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found and self.url is None:
                self.url = found.group()
                self.ready.set()
        self.ready.set()

    def get(self, path, **headers):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as reply:
            return json.load(reply)

    def close(self):
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def open_browser():
    """A headless Chromium, or the sentence why there is none: (driver, None) or (None, why)."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        return None, "the package python3-selenium is not installed"
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        return None, "the packages chromium and chromium-driver are not installed"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # Without its sandbox, which containers do not let it make: it opens nothing but this server's pages.
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--disable-background-networking", "--disable-component-update", "--no-first-run"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        return webdriver.Chrome(service=Service(driver, log_path=os.devnull), options=options), None
    except WebDriverException as error:
        return None, f"chromium does not start here: {error.msg.splitlines()[0]}"


def until(condition, seconds, what):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"in {seconds} s: no {what}")
