"""Starts the program's server for the tests beside this file: X_test.py PROGRAM MODEL SANITIZERS."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, MODEL = [os.path.abspath(path) for path in sys.argv[1:3]]
SANITIZED = sys.argv[3:4] not in ([], [""])  # what the program was built with
PATIENCE = 240 if SANITIZED else 60          # seconds for what takes a moment

# Of ours: turns between special tokens, tools, calls between tags.
TOOL_TEMPLATE = """{% if tools %}<s>tools: {{ tools | tojson }}</s>
{% endif %}{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>
{% endfor %}<s>assistant: """


class Server:
    """A running `nosa serve`. Its log is in .log()."""

    def __init__(self, *args):
        self.directory = tempfile.TemporaryDirectory()
        self.log_path = os.path.join(self.directory.name, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([PROGRAM, "serve", "--model", MODEL, "--port", "0", "--json", "--threads", "2",
                                             *map(str, args)], stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"the server did not start: {self.log()}")
        self.ready = json.loads(line)
        self.port = self.ready["port"]

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self, sent=signal.SIGTERM):
        """The exit code. `sent`: a signal, None when it has one already."""
        if sent is not None and self.process.poll() is None:
            self.process.send_signal(sent)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.directory.cleanup()
        return code

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def raw(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def ask(self, method, path, body=None, **headers):
        """(status, headers, body); the body as JSON where it is. `body`: JSON, or bytes as they are."""
        connection = self.connect()
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body)
                headers.setdefault("Content_Type", "application/json")
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            reply = connection.getresponse()
            text = reply.read()
            is_json = (reply.getheader("Content-Type") or "").startswith("application/json")
            return reply.status, reply.headers, json.loads(text) if is_json and text else text
        finally:
            connection.close()

    def complete(self, **fields):
        """POST /v1/completions that must succeed."""
        status, _, json_body = self.ask("POST", "/v1/completions", {"model": self.ready["model"], **fields})
        assert status == 200, json_body
        return json_body

    def chat(self, *messages, **fields):
        """POST /v1/chat/completions that must succeed."""
        body = {"model": self.ready["model"], "messages": [{"role": "user", "content": m} for m in messages], **fields}
        status, _, json_body = self.ask("POST", "/v1/chat/completions", body)
        assert status == 200, json_body
        return json_body

    def stream(self, path, body):
        """The events of a stream, as JSON; the last is [DONE]."""
        connection = self.connect()
        try:
            connection.request("POST", path, json.dumps({"model": self.ready["model"], "stream": True, **body}),
                               {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            assert reply.getheader("Content-Type") == "text/event-stream"
            events = [event for event in reply.read().decode().split("\n\n") if event and not event.startswith(":")]
            assert all(event.startswith("data: ") for event in events), events
            assert events[-1] == "data: [DONE]", events[-1]
            return [json.loads(event[len("data: "):]) for event in events[:-1]]
        finally:
            connection.close()

    def metrics(self):
        """{name with labels: value}"""
        status, _, text = self.ask("GET", "/metrics")
        assert status == 200
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", text.decode(), re.M)}

    def at_work(self):
        """Requests that the engine holds."""
        metrics = self.metrics()
        return sum(metrics[f'nosa_requests{{state="{state}"}}'] for state in ("queued", "reading", "answering"))

    def wait_for(self, what, true):
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {PATIENCE} s\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class ServerTest(unittest.TestCase):
    """One server for all cases of a class, started with ARGS."""

    ARGS = ("--context", 4096, "--quiet")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.ARGS)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, f"exit code {code}"

    def refused(self, status, path, body, pattern=None, param=None):
        """POST is refused with OpenAI's error object; returns it."""
        got, _, reply = self.server.ask("POST", path, body)
        self.assertEqual(got, status, reply)
        self.assertEqual(sorted(reply), ["error"])
        error = reply["error"]
        self.assertEqual(list(error), ["message", "type", "param", "code"])
        if pattern is not None:
            self.assertRegex(error["message"], pattern)
        if param is not None:
            self.assertEqual(error["param"], param)
        return error


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
