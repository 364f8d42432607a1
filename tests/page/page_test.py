"""The page in headless Chromium, on a real server: page_test.py PROGRAM MODEL SANITIZERS. Exits with 77 when there is
no browser to test it in."""
import json
import os
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from served import Server, open_browser, until  # noqa: E402

PROGRAM, MODEL = [os.path.abspath(path) for path in sys.argv[1:3]]
SANITIZED = sys.argv[3:4] not in ([], [""])
PATIENCE = 240 if SANITIZED else 40  # seconds until something must have happened

DESKTOP, PHONE = (1360, 860, False), (390, 844, True)
SENTENCE = "The mill at the river has a red door, and the miller counts {} sacks of flour every evening. "
DOCUMENT = "".join(SENTENCE.format(i) for i in range(150))


class PageTest(unittest.TestCase):
    browser = None

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        # Less RAM than the conversations take, so that the map has both tiers to show.
        cls.server = Server(PROGRAM, MODEL, *cls.flags(), patience=PATIENCE)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.directory.cleanup()

    @classmethod
    def flags(cls):
        return ["--kv-host", "10MiB", "--kv-disk", cls.directory.name + ":256MiB", "--context", "8192", "--parallel", "1",
                "--quiet"]

    def open(self, size=DESKTOP, scheme="light"):
        width, height, mobile = size
        command = self.browser.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile})
        command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.browser.get("about:blank")
        self.browser.get_log("browser")
        self.browser.get(self.server.url)
        until(lambda: self.text("load-text") not in ("", "connecting"), PATIENCE, "status from the server")

    def js(self, script, *args):
        return self.browser.execute_script(script, *args)

    def element(self, name):
        return self.browser.find_element("id", name)

    def text(self, name):
        return self.js("return document.getElementById(arguments[0])?.textContent ?? ''", name)

    def visible(self, name):
        return self.element(name).is_displayed()

    def type(self, *keys):
        """Into whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def paste(self, text):
        self.js("""const data = new DataTransfer();
                   data.setData("text/plain", arguments[0]);
                   document.activeElement.dispatchEvent(
                     new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));""", text)

    def set_most_tokens(self, count):
        """And the same answer every time."""
        self.js("document.getElementById('max-tokens').value = arguments[0]", count)
        self.js("document.getElementById('temperature').value = 0")

    def answer_text(self):
        return self.js("return [...document.querySelectorAll('.turn.assistant .body')].at(-1)?.textContent ?? ''")

    def foot(self):
        return self.js("return [...document.querySelectorAll('.turn.assistant .foot')].at(-1)?.textContent ?? ''")

    def map_pixels(self):
        return self.js("return document.getElementById('map').toDataURL()")

    def assert_quiet_console(self):
        wrong = [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        self.assertEqual(wrong, [])


class LookTest(PageTest):
    def test_loads_at_every_size_and_in_both_schemes(self):
        grounds = {}
        for size in (DESKTOP, PHONE):
            for scheme in ("light", "dark"):
                with self.subTest(size=size, scheme=scheme):
                    self.open(size, scheme)
                    self.assertEqual(self.text("load-text"), "idle")
                    until(lambda: self.text("model") != "", PATIENCE, "name of the model")
                    self.assertLessEqual(self.js("return document.documentElement.scrollWidth"), size[0])
                    grounds[scheme] = self.js("return getComputedStyle(document.body).backgroundColor")
                    self.assertTrue(self.visible("prompt"))
                    self.assertEqual(self.visible("map"), size is DESKTOP)
                    loaded = self.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
                    self.assertGreater(len(loaded), 8)
                    for name in loaded:
                        self.assertTrue(name.startswith(self.server.url), name)
                    self.assert_quiet_console()
        self.assertNotEqual(grounds["light"], grounds["dark"])

    def test_the_colours_can_be_chosen_and_are_kept(self):
        self.open(scheme="light")
        ground = "return getComputedStyle(document.body).backgroundColor"
        light = self.js(ground)
        self.element("theme").click()  # light
        self.element("theme").click()  # dark
        dark = self.js(ground)
        self.assertNotEqual(light, dark)
        self.open(scheme="light")
        self.assertEqual(self.js(ground), dark)
        self.element("theme").click()  # as the system again
        self.assertEqual(self.js(ground), light)

    def test_a_phone_shows_one_part_at_a_time(self):
        self.open(PHONE)
        self.element("view-cache").click()
        self.assertTrue(self.visible("map"))
        self.assertFalse(self.visible("prompt"))
        self.assertLessEqual(self.js("return document.documentElement.scrollWidth"), PHONE[0])
        self.assertGreater(self.js("return document.getElementById('map').width"), 300)
        self.element("view-chat").click()
        self.assertTrue(self.visible("prompt"))

    def test_files_say_what_they_are_and_are_not_sent_twice(self):
        for path, kind in (("/", "text/html"), ("/page/main.js", "text/javascript"), ("/page/page.css", "text/css"),
                           ("/favicon.svg", "image/svg+xml")):
            with self.subTest(path=path):
                with urllib.request.urlopen(self.server.url + path, timeout=30) as reply:
                    self.assertTrue(reply.headers["Content-Type"].startswith(kind))
                    self.assertIn("default-src 'none'", reply.headers["Content-Security-Policy"])
                    self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
                    tag = reply.headers["ETag"]
                again = urllib.request.Request(self.server.url + path, headers={"If-None-Match": tag})
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(again, timeout=30)
                self.assertEqual(refused.exception.code, 304)
                self.assertEqual(refused.exception.read(), b"")
        for path in ("/page/", "/page/../page_files.h", "/page/%2e%2e/page_files.h", "/page/nothing.js"):
            with self.subTest(path=path), self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(self.server.url + path, timeout=30)
            self.assertEqual(refused.exception.code, 404)


class ChatTest(PageTest):
    def test_a_question_is_answered_while_the_map_shows_its_blocks(self):
        self.open()
        self.set_most_tokens(300)
        self.element("prompt").click()
        self.paste(DOCUMENT)
        self.assertIn("Pasted text", self.text("documents"))
        empty = self.map_pixels()
        from selenium.webdriver.common.keys import Keys
        self.type("What does the miller count?", Keys.ENTER)
        until(lambda: "Reading the prompt" in self.js("return document.querySelector('.reading')?.textContent ?? ''"),
              PATIENCE, "progress of the prompt")
        lengths, pixels = set(), {empty}

        def streams():
            lengths.add(len(self.answer_text()))
            pixels.add(self.map_pixels())
            return len(lengths) > 6 and len(pixels) > 4
        until(streams, PATIENCE, "streamed text and moving map")
        self.assertRegex(self.text("map-title"), r"^[\d,]+ tokens in \d+ blocks")
        self.assertEqual(self.js("return document.querySelector('#requests button').textContent"), "this chat")
        self.assertEqual(self.js("return document.querySelectorAll('#tiers dt').length"), 2)

        # A block under the cursor, by keyboard alone.
        self.js("document.getElementById('map').focus()")
        self.type(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        self.assertRegex(self.text("inspector"), r"^Block 2, tokens 128–191: (in|on) (RAM|disk).*; (last )?read ")
        until(lambda: "written" in self.foot(), PATIENCE, "end of the answer")
        self.assertNotEqual(self.text("locality"), "–")
        self.assertNotEqual(self.text("hit-rate"), "–")
        self.assertRegex(self.foot(), r"first token after [\d.]+ s · [\d,]+ tokens read.* · [\d,]+ written")
        self.assertTrue(self.visible("send"))
        self.assertIn("complete", self.text("announcer"))
        until(lambda: "ended" in self.text("map-title"), PATIENCE, "end in the map")
        self.assert_quiet_console()

    def test_an_answer_can_be_stopped(self):
        from selenium.webdriver.common.keys import Keys
        for by in ("button", "Escape"):
            with self.subTest(by=by):
                self.open()
                self.set_most_tokens(7000)
                self.element("prompt").click()
                self.type("Tell a story without an end.", Keys.ENTER)
                until(lambda: len(self.answer_text()) > 20, PATIENCE, "answer")
                self.assertTrue(self.server.get("/v1/nosa/status")["answers"])
                if by == "button":
                    self.element("stop").click()
                else:
                    self.type(Keys.ESCAPE)
                until(lambda: self.foot().startswith("stopped"), PATIENCE, "word that it was stopped")
                until(lambda: not self.server.get("/v1/nosa/status")["answers"], PATIENCE, "end on the server")
                self.assertTrue(self.visible("send"))
                self.assert_quiet_console()

    def test_a_file_goes_with_the_question(self):
        from selenium.webdriver.common.keys import Keys
        self.open(PHONE)
        self.set_most_tokens(3)
        path = os.path.join(self.directory.name, "notes.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(SENTENCE.format("forty"))
        self.element("file").send_keys(path)
        until(lambda: "notes.txt" in self.text("documents"), PATIENCE, "document")
        self.element("prompt").click()
        self.type("How many sacks?", Keys.ENTER)
        until(lambda: "written" in self.foot(), PATIENCE, "end of the answer")
        read = int(self.foot().split(" tokens read")[0].split("· ")[-1].replace(",", ""))
        self.assertGreater(read, 20)
        self.assert_quiet_console()

    def test_what_the_server_refuses_is_said(self):
        from selenium.webdriver.common.keys import Keys
        self.open()
        self.set_most_tokens(5000000)
        self.element("prompt").click()
        self.type("Hello", Keys.ENTER)
        until(lambda: self.js("return document.querySelector('.foot.bad')?.textContent ?? ''"), PATIENCE, "error")
        self.assertTrue(self.visible("send"))


class KeyTest(PageTest):
    @classmethod
    def flags(cls):
        path = os.path.join(cls.directory.name, "keys")
        with open(path, "w", encoding="utf-8") as file:
            file.write("sk-the-right-key-of-this-test name=one\nsk-the-key-of-somebody-else name=two\n")
        os.chmod(path, 0o600)
        return ["--api-key-file", path, "--quiet"]

    def test_the_key_is_asked_for_and_kept_in_the_tab(self):
        self.open()
        until(lambda: self.visible("key-form"), PATIENCE, "question for the key")
        self.assertTrue(all("401" in entry["message"] for entry in self.browser.get_log("browser")))
        from selenium.webdriver.common.keys import Keys
        self.type("wrong", Keys.ENTER)
        until(lambda: self.visible("key-form"), PATIENCE, "question after a wrong key")
        until(lambda: self.js("return document.activeElement.id") == "key", PATIENCE, "focus on the key")
        self.type("sk-the-right-key-of-this-test", Keys.ENTER)
        until(lambda: self.text("load-text") == "idle", PATIENCE, "status after the right key")
        self.assertFalse(self.visible("key-form"))
        self.browser.get_log("browser")  # has the 401s, which are the browser's own to tell
        self.assertEqual(self.js("return Object.values(sessionStorage)"), ["sk-the-right-key-of-this-test"])
        self.assertNotIn("sk-", self.js("return JSON.stringify(localStorage)"))
        self.set_most_tokens(3)
        self.type("Hello", Keys.ENTER)
        until(lambda: "written" in self.foot(), PATIENCE, "answer with the key")
        self.assert_quiet_console()

    def test_nobody_sees_the_requests_of_another_key(self):
        def get(path, key):
            request = urllib.request.Request(self.server.url + path, headers={"Authorization": f"Bearer {key}"})
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read()
        mine, other = "sk-the-right-key-of-this-test", "sk-the-key-of-somebody-else"
        body = json.dumps({"model": "nosa-21m", "prompt": "Once", "max_tokens": 7000, "stream": True, "temperature": 0})
        request = urllib.request.Request(
            self.server.url + "/v1/completions", body.encode(),
            {"Authorization": f"Bearer {mine}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as stream:
            stream.readline()
            answers = json.loads(get("/v1/nosa/status", mine)[1])["answers"]
            self.assertEqual(len(answers), 1)
            path = f"/v1/nosa/cache?id={answers[0]['id']}"
            self.assertEqual(get(path, mine)[0], 200)
            self.assertEqual(json.loads(get("/v1/nosa/status", other)[1])["answers"], [])
            self.assertEqual(get(path, other), (204, b""))
            for wrong in ("", "x", "-1", "1x", "99999999999999999999999"):
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    get(f"/v1/nosa/cache?id={wrong}", mine)
                self.assertEqual(refused.exception.code, 400)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                get(path, "sk-nobody's")
            self.assertEqual(refused.exception.code, 401)


if __name__ == "__main__":
    PageTest.browser, WHY_NOT = open_browser()
    if WHY_NOT is not None:
        print(f"skipped: {WHY_NOT}")
        sys.exit(77)
    try:
        outcome = unittest.main(argv=sys.argv[:1] + sys.argv[4:], exit=False).result
    finally:
        PageTest.browser.quit()
    sys.exit(0 if outcome.wasSuccessful() else 1)
