"""How the server ends, and begins again: lifecycle_test.py PROGRAM MODEL SANITIZERS."""
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from server import PATIENCE, Server, main

LONG = "def f(x):\n    return x\n" * 300  # some 3,000 tokens


class DrainTest(unittest.TestCase):
    def begin(self, server, tokens):
        """A stream that has begun."""
        connection = server.connect()
        connection.request("POST", "/v1/completions", json.dumps(
            {"model": "nosa-21m", "prompt": "a", "max_tokens": tokens, "ignore_eos": True, "stream": True}),
                           {"Content-Type": "application/json"})
        reply = connection.getresponse()
        self.assertEqual(reply.status, 200)
        reply.readline()
        return connection, reply

    def test_sigterm_lets_answers_end(self):
        server = Server("--context", 2048, "--drain", PATIENCE)
        connection, reply = self.begin(server, 400)
        idle = server.connect()  # kept alive without a request: it must not hold up the end
        idle.request("GET", "/health")
        idle.getresponse().read()
        server.process.send_signal(signal.SIGTERM)
        # It still says how it is, and takes nothing new.
        server.wait_for("not ready", lambda: server.ask("GET", "/health/ready")[0] == 503)
        self.assertEqual(server.ask("GET", "/health/live")[0], 200)
        status, _, error = server.ask("POST", "/v1/completions", {"model": "nosa-21m", "prompt": "a"})
        self.assertEqual((status, error["error"]["code"]), (503, "shutting_down"))
        text = reply.read()
        self.assertTrue(text.endswith(b"data: [DONE]\n\n"), text[-200:])
        self.assertNotIn(b'"error"', text)
        self.assertIn(b'"finish_reason":"length"', text)
        connection.close()
        idle.close()
        self.assertEqual(server.stop(None), 0)

    def test_what_takes_too_long_is_cut(self):
        server = Server("--context", 8192, "--drain", 0.3)
        connection, reply = self.begin(server, 8000)
        server.process.send_signal(signal.SIGTERM)
        text = reply.read()
        self.assertIn(b'"error"', text)
        connection.close()
        self.assertEqual(server.stop(None), 0)

    def test_a_second_signal_ends_it(self):
        server = Server("--context", 8192)
        connection, _ = self.begin(server, 8000)
        server.process.send_signal(signal.SIGINT)
        server.wait_for("draining", lambda: server.ask("GET", "/health/ready")[0] == 503)
        self.assertEqual(server.stop(signal.SIGTERM), -signal.SIGTERM)
        connection.close()

    def test_deadline(self):
        server = Server("--context", 8192, "--deadline", 0.5)
        status, _, error = server.ask("POST", "/v1/completions",
                                      {"model": "nosa-21m", "prompt": "a", "max_tokens": 8000, "ignore_eos": True})
        self.assertEqual((status, error["error"]["code"]), (504, "timeout"))
        self.assertEqual(server.stop(), 0)


class RestartTest(unittest.TestCase):
    def test_sigkill_while_writing(self):
        """What was on disk is gone with the process, and the next one answers as if nothing had been."""
        with tempfile.TemporaryDirectory() as disk:
            args = ("--context", 4096, "--kv-host", "8MiB", "--kv-disk", f"{disk}:256MiB", "--parallel", 1, "--quiet")
            truth = None
            for killed in (True, True, False):
                server = Server(*args)
                ask = {"prompt": LONG, "max_tokens": 16, "temperature": 0}
                if killed:
                    thread = threading.Thread(target=lambda: self.give_up(server, ask))
                    thread.start()
                    server.wait_for("it writes", lambda: server.metrics()['nosa_kv_bytes{tier="cold"}'] > 0)
                    server.process.kill()
                    thread.join()
                    self.assertEqual(server.stop(), -signal.SIGKILL)
                else:
                    truth = server.complete(**ask)["choices"][0]["text"]
                    self.assertEqual(server.stop(), 0)
                # Its file had no name: the system takes the space back whatever happens.
                self.assertEqual(sum(len(files) for _, _, files in os.walk(disk)), 0)
            server = Server("--context", 4096, "--quiet")
            self.assertEqual(server.complete(**ask)["choices"][0]["text"], truth)
            self.assertEqual(server.stop(), 0)

    @staticmethod
    def give_up(server, ask):
        try:
            server.complete(**ask, n=4)
        except (OSError, http.client.HTTPException, AssertionError):
            pass


@unittest.skipUnless(shutil.which("openssl"), "there is no openssl command to make a certificate with")
class TlsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.certificate, self.key = (os.path.join(directory.name, name) for name in ("cert.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        self.key, "-out", self.certificate, "-days", "1", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        self.server = Server("--context", 2048, "--quiet", "--tls-cert", self.certificate, "--tls-key", self.key, "--head-timeout", 1)
        self.addCleanup(self.server.stop)

    def test_https(self):
        context = ssl.create_default_context(cafile=self.certificate)
        connection = http.client.HTTPSConnection("localhost", self.server.port, context=context, timeout=60)
        self.assertTrue(self.server.ready["url"].startswith("https://"))
        for _ in range(3):  # one connection
            connection.request("POST", "/v1/completions", json.dumps(
                {"model": "nosa-21m", "prompt": "def f(", "max_tokens": 5, "temperature": 0, "stream": True}),
                               {"Content-Type": "application/json"})
            self.assertTrue(connection.getresponse().read().endswith(b"data: [DONE]\n\n"))
        # A prompt of many records, and one that leaves in the middle.
        connection.request("POST", "/tokenize", json.dumps({"prompt": "a b " * 200_000}), {"Content-Type": "application/json"})
        self.assertGreater(json.loads(connection.getresponse().read())["count"], 100_000)
        connection.request("POST", "/v1/completions", json.dumps(
            {"model": "nosa-21m", "prompt": "a", "max_tokens": 1500, "ignore_eos": True, "stream": True}),
                           {"Content-Type": "application/json"})
        connection.getresponse().readline()
        connection.close()
        other = http.client.HTTPSConnection("localhost", self.server.port, context=context, timeout=60)

        def at_work():
            other.request("GET", "/metrics")
            text = other.getresponse().read().decode()
            return any(f'nosa_requests{{state="{state}"}} 0\n' not in text for state in ("reading", "answering", "queued"))

        self.server.wait_for("it is cancelled", lambda: not at_work())
        # Plain HTTP, and nothing at all, are no handshakes.
        with self.server.raw() as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            try:
                self.assertNotIn(b"HTTP/1.1 200", plain.recv(4096))
            except ConnectionResetError:
                pass
        with self.server.raw() as silent:
            begin = time.monotonic()
            self.assertEqual(silent.recv(4096), b"")
            self.assertLess(time.monotonic() - begin, 30)
        other.request("GET", "/health")
        self.assertEqual(other.getresponse().status, 200)
        other.close()


if __name__ == "__main__":
    main()
