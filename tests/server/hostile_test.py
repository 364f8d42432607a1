"""Clients that leave, stall, lie and flood: hostile_test.py PROGRAM MODEL SANITIZERS."""
import json
import random
import socket
import threading
import time

from server import PATIENCE, ServerTest, main

LONG = "def f(x):\n    return x\n" * 150  # some 1,500 tokens


def request(body, path="/v1/completions", headers="", method="POST"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n{headers}\r\n").encode() + data


def reply_of(sock):
    """(status, everything) until the server closes or enough is there."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except (ConnectionResetError, socket.timeout):
            break
        if not piece:
            break
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        if end and b"chunked" not in head.lower():
            length = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")))
            if len(body) >= length:
                break
    return int(data.split(b" ", 2)[1]) if data else 0, data


class HostileTest(ServerTest):
    ARGS = ("--context", 4096, "--quiet", "--head-timeout", 1, "--body-timeout", 2, "--write-timeout", 2, "--idle-timeout", 3,
            "--max-connections", 64, "--max-body", "1MiB")

    def setUp(self):
        self.server.ask("POST", "/v1/completions", {"model": "nosa-21m", "prompt": "a", "max_tokens": 1})
        self.server.wait_for("idle before", lambda: self.server.at_work() == 0)
        self.kv = self.held()

    def held(self):
        """Bytes of KV that requests hold: beginnings of prompts stay cached until others need the room."""
        metrics = self.server.metrics()
        return metrics['nosa_kv_bytes{tier="host"}'] - metrics["nosa_prefix_retained_bytes"]

    def tearDown(self):
        """Whatever happened: it answers, and holds nothing."""
        self.server.wait_for("nothing at work", lambda: self.server.at_work() == 0)
        self.server.wait_for("no KV is held", lambda: self.held() <= self.kv)
        answer = self.server.complete(prompt="def f(", max_tokens=2)
        self.assertEqual(answer["usage"]["completion_tokens"], 2)

    def send(self, data):
        """(status, reply) of raw bytes."""
        with self.server.raw() as sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it had read enough
            return reply_of(sock)

    def test_disconnect_ends_the_answer(self):
        for body in ({"stream": True}, {}, {"n": 4}, {"n": 3, "stream": True}):
            with self.server.raw() as sock:
                sock.sendall(request({"model": "nosa-21m", "prompt": LONG, "max_tokens": 2000, "ignore_eos": True, **body}))
                self.server.wait_for("it is answered", lambda: self.server.at_work() > 0)
                gone = self.server.metrics()["nosa_disconnects_total"]
            self.server.wait_for("it is cancelled", lambda: self.server.at_work() == 0)
            self.server.wait_for("it is counted", lambda: self.server.metrics()["nosa_disconnects_total"] == gone + 1)

    def test_disconnect_while_the_prompt_is_read(self):
        with self.server.raw() as sock:
            sock.sendall(request({"model": "nosa-21m", "prompt": LONG, "max_tokens": 1, "stream": True}))
            time.sleep(0.02)

    def test_random_disconnects(self):
        rng = random.Random(3)
        threads, files = self.server.threads(), self.server.files()

        def one(seed):
            mine = random.Random(seed)
            whole = request({"model": "nosa-21m", "prompt": LONG[:mine.randint(1, len(LONG))], "max_tokens": mine.randint(1, 200),
                             "stream": mine.random() < 0.7, "n": mine.randint(1, 2)})
            try:
                with self.server.raw(5) as sock:
                    sock.sendall(whole[:mine.randint(0, len(whole))] if mine.random() < 0.3 else whole)
                    if mine.random() < 0.6:
                        time.sleep(mine.random() * 0.2)
                    if mine.random() < 0.3:
                        sock.recv(mine.randint(1, 2000))
                    if mine.random() < 0.3:  # RST in place of FIN
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass

        for _ in range(5):
            many = [threading.Thread(target=one, args=(rng.random(),)) for _ in range(20)]
            for thread in many:
                thread.start()
            for thread in many:
                thread.join()
        self.server.wait_for("nothing at work", lambda: self.server.at_work() == 0)
        # The probe itself is one connection; threads that have ended are joined when the next one comes.
        self.server.wait_for("all threads ended", lambda: self.server.at_work() == 0 and self.server.threads() <= threads + 1)
        self.server.wait_for("all sockets closed", lambda: self.server.files() <= files + 1)

    def test_slow_reader(self):
        """One that takes nothing is given up; one that takes little gets everything."""
        body = {"model": "nosa-21m", "prompt": "a", "max_tokens": 1500, "ignore_eos": True, "stream": True, "logprobs": 5}
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", self.server.port))
            sock.sendall(request({**body, "max_tokens": 3900, "n": 4}))
            self.server.wait_for("it is answered", lambda: self.server.at_work() > 0)
            self.server.wait_for("it is given up", lambda: self.server.at_work() == 0)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", self.server.port))
            sock.sendall(request({**body, "max_tokens": 300}))
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                piece = sock.recv(3000)
                self.assertNotEqual(piece, b"", data[-300:])
                data += piece
                time.sleep(0.005)
            self.assertEqual(data.count(b"data: {"), 301)  # every token, and the end
            self.assertIn(b"data: [DONE]", data)

    def test_half_open(self):
        """What never becomes a request is closed in time, and others are served meanwhile."""
        socks = [self.server.raw() for _ in range(20)]
        for i, sock in enumerate(socks):
            sock.sendall((b"", b"POST /v1/completions HTTP/1.1\r\nHo", b"GET /health HTTP/1.1\r\nA: b\r\n",
                          request({"model": "m"})[:-3])[i % 4])
        begin = time.monotonic()
        self.assertEqual(self.server.ask("GET", "/health")[0], 200)
        self.assertLess(time.monotonic() - begin, PATIENCE / 10)
        statuses = []
        for sock in socks:
            statuses.append(reply_of(sock)[0])
            sock.close()
        self.assertEqual(sorted(set(statuses)), [0, 408])
        self.assertEqual(statuses[1::4], [408] * 5)
        self.assertEqual(statuses[3::4], [408] * 5)

    def test_trickled_head(self):
        """Bytes that keep coming do not stretch the time of a head."""
        with self.server.raw() as sock:
            begin = time.monotonic()
            sock.sendall(b"GET /health HTTP/1.1\r\n")
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                while time.monotonic() - begin < PATIENCE:
                    sock.sendall(b"A: b\r\n")
                    time.sleep(0.05)
            self.assertLess(time.monotonic() - begin, 1 + PATIENCE / 6)

    def test_header_floods(self):
        self.assertEqual(self.send(b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n")[0], 431)
        self.assertEqual(self.send(b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 1_000_000)[0], 431)
        self.assertEqual(self.send(b"GET /health HTTP/1.1\r\nA: " + b"b" * 10_000_000)[0], 431)
        self.assertEqual(self.send(b"GET /health HTTP/1.1\r\nA: " + b"b" * 8100 + b"\r\n\r\n")[0], 431)
        self.assertEqual(self.send(b"GET /" + b"b" * 8100 + b" HTTP/1.1\r\n\r\n")[0], 414)
        self.assertEqual(self.send(b"A" * 10_000_000)[0], 431)

    def test_bodies(self):
        good = {"model": "nosa-21m", "prompt": "a", "max_tokens": 1}
        self.assertEqual(self.send(request({**good, "prompt": "a" * (2 << 20)}))[0], 413)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.assertEqual(self.send(head + b"Content-Length: 99999999999\r\n\r\n")[0], 413)
        self.assertEqual(self.send(head + b"Content-Length: -5\r\n\r\n")[0], 400)
        self.assertEqual(self.send(head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")[0], 400)
        chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        self.assertEqual(self.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)[0], 413)
        body = json.dumps(good).encode()
        pieces = b"".join(b"%x\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body)))
        self.assertEqual(self.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")[0], 200)
        for broken in (b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"5\r\nabc"):
            status, _ = self.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + broken)
            self.assertIn(status, (0, 400, 408, 413), broken)
        self.assertEqual(self.send(request(b"a" * 10, headers="Content-Encoding: gzip\r\n"))[0], 415)

    def test_no_http(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n", b"\r\n\r\n", b"HELO a\r\n\r\n",
                     b"GET /health HTTP/1.1\nHost: a\n\n", b"GET /health\r\n\r\n", b"GET  /health HTTP/1.1\r\n\r\n",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /health HTTP/1.1\r\nA\0: b\r\n\r\n"):
            self.assertIn(self.send(data)[0], (400, 408, 505), data[:20])

    def test_smuggled_requests(self):
        """A body that nobody reads is not taken for a request."""
        inner = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for method, path in (("GET", "/health"), ("POST", "/nowhere"), ("POST", "/health")):
            status, data = self.send(request(inner, path=path, method=method))
            self.assertEqual(data.count(b"HTTP/1.1 "), 1, data)
            self.assertIn(b"Connection: close", data)
            self.assertIn(status, (200, 404, 405))
        # Two that follow each other are two.
        with self.server.raw() as sock:
            sock.sendall(request({"prompt": "a"}, path="/tokenize") + request({"prompt": "b"}, path="/tokenize"))
            data = b""
            while data.count(b'"tokens"') < 2:
                piece = sock.recv(65536)
                self.assertNotEqual(piece, b"")
                data += piece
        self.assertEqual(data.count(b"HTTP/1.1 200 OK"), 2)

    def test_requests_from_other_sites(self):
        self.assertEqual(self.server.ask("GET", "/v1/models", Host="attacker.example")[0], 403)
        self.assertEqual(self.server.ask("GET", "/v1/models", Origin="https://attacker.example")[0], 403)
        self.assertEqual(self.server.ask("GET", "/v1/models", Origin="null")[0], 403)
        self.assertEqual(self.server.ask("GET", "/v1/models", Origin=f"http://localhost:{self.server.port}")[0], 200)
        ask = json.dumps({"model": "nosa-21m", "prompt": "a"}).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
            self.assertEqual(self.server.ask("POST", "/v1/completions", ask, Content_Type=kind)[0], 415)

    def test_too_many_connections(self):
        idle = []
        for _ in range(64):
            idle.append(self.server.raw())
        try:
            with self.server.raw() as sock:
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                status, data = reply_of(sock)
                self.assertEqual(status, 503)
                self.assertIn(b"Retry-After", data)
        finally:
            for sock in idle:
                sock.close()
        self.server.wait_for("others get in again", self.gets_in)

    def gets_in(self):
        try:
            return self.server.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def test_streams_leave_room_for_health(self):
        body = {"model": "nosa-21m", "prompt": "a", "max_tokens": 3000, "ignore_eos": True, "stream": True}
        streams, statuses = [], []
        try:
            for _ in range(40):
                sock = self.server.raw()
                streams.append(sock)
                sock.sendall(request(body))
                statuses.append(int(sock.recv(4096).split(b" ", 2)[1]))
            self.assertEqual(statuses, [200] * 32 + [503] * 8)
            self.assertEqual(self.server.ask("GET", "/health")[0], 200)
        finally:
            for sock in streams:
                sock.close()


if __name__ == "__main__":
    main()
