"""10,000 clients that leave, stall or send nonsense, and what is left of them: storm_test.py PROGRAM MODEL SANITIZERS."""
import json
import random
import socket
import threading
import time
import unittest

from server import SANITIZED, Server, main

CLIENTS = 3000 if SANITIZED else 10_000
AT_ONCE = 24
TEXT = "def f(x):\n    return x\n" * 60  # some 600 tokens


def good_request(rng):
    body = json.dumps({"model": "nosa-21m", "prompt": TEXT[:rng.randint(1, len(TEXT))], "max_tokens": rng.randint(1, 60),
                       "n": rng.choice((1, 1, 1, 3)), "stream": rng.random() < 0.7, "ignore_eos": True})
    return (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def bad_request(rng):
    whole = bytearray(good_request(rng))
    kind = rng.randrange(6)
    if kind == 0:  # any bytes, some of them wrong
        for _ in range(rng.randint(1, 20)):
            whole[rng.randrange(len(whole))] = rng.randrange(256)
        return bytes(whole)
    if kind == 1:
        return bytes(whole[:rng.randrange(len(whole))])
    if kind == 2:
        return b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * rng.randint(1, 500) + b"\r\n"
    if kind == 3:
        return rng.randbytes(rng.randint(0, 3000)) + b"\r\n\r\n"
    if kind == 4:
        path = rng.choice(("/../../etc/passwd", "/%2e%2e/%2e%2e", "/v1/models/%00", "//", "/" + "a" * 9000, "/v1/completions?a=b"))
        return f"{rng.choice(('GET', 'POST', 'TRACE', 'CONNECT'))} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    size = rng.choice((5, 1 << 40, 70_000))
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {size}\r\nAuthorization: Bearer nobody\r\n\r\n").encode() + b"[" * rng.randint(0, 70_000)


def client(server, seed):
    rng = random.Random(seed)
    try:
        with server.raw(30) as sock:
            sock.sendall(good_request(rng) if rng.random() < 0.4 else bad_request(rng))
            what = rng.random()
            if what < 0.3:
                time.sleep(rng.random() * 0.05)
            elif what < 0.6:
                sock.recv(rng.randint(1, 4096))
            elif what < 0.7:  # reads to the end, slowly
                sock.settimeout(3)
                while sock.recv(512):
                    time.sleep(0.001)
            if rng.random() < 0.3:  # RST in place of FIN
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except OSError:
        pass


class StormTest(unittest.TestCase):
    def memory(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024

    def run_clients(self, seeds):
        seeds, lock = iter(seeds), threading.Lock()

        def work():
            while True:
                with lock:
                    seed = next(seeds, None)
                if seed is None:
                    return
                client(self.server, seed)

        threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.server.wait_for("nothing at work", lambda: self.server.at_work() == 0)

    def test_nothing_is_left(self):
        self.server = Server("--context", 2048, "--kv-host", "64MiB", "--head-timeout", 1, "--body-timeout", 1, "--write-timeout", 2,
                             "--quiet", "--max-connections", 96)
        self.addCleanup(self.server.process.kill)
        ask = {"prompt": TEXT, "max_tokens": 16, "temperature": 0}
        truth = self.server.complete(**ask)["choices"][0]["text"]
        # Threads of many connections get arenas of their own from malloc, which stay: some 3,000 clients until all have.
        warm, begin = CLIENTS * 3 // 10, time.monotonic()
        self.run_clients(range(warm))
        memory, threads, files = self.memory(), self.server.threads(), self.server.files()
        self.run_clients(range(warm, CLIENTS))
        self.server.wait_for("threads end", lambda: self.server.at_work() == 0 and self.server.threads() <= threads + 1)
        self.server.wait_for("sockets close", lambda: self.server.files() <= files + 1)
        self.assertEqual(self.server.complete(**ask)["choices"][0]["text"], truth)
        metrics = self.server.metrics()
        self.assertGreater(metrics["nosa_disconnects_total"], CLIENTS / 50)
        self.assertGreater(metrics["nosa_requests_malformed_total"], CLIENTS / 50)
        if not SANITIZED:  # which keep what is freed
            self.assertLess(self.memory(), memory + (48 << 20))
        print(f"{CLIENTS} clients in {time.monotonic() - begin:.0f} s: {metrics['nosa_disconnects_total']:.0f} left early, "
              f"{metrics['nosa_requests_malformed_total']:.0f} sent no request; after the first {warm} and at the end: memory "
              f"{memory >> 20} and {self.memory() >> 20} MiB, threads {threads} and {self.server.threads()}, files and sockets "
              f"{files} and {self.server.files()}")
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    main()
