"""`nosa bench serve`: bench_serve_test.py PROGRAM MODEL SANITIZERS."""
import json
import re
import signal
import subprocess

from program import MODEL, PROGRAM, SANITIZED, ProgramTest, main, run

SHORT = ("--prompt-tokens", "16:64", "--max-tokens", 8, "--warm-up", 0.2, "--duration", 4 if SANITIZED else 1.5)


class LoadTest(ProgramTest):
    def bench(self, *args):
        return json.loads(self.succeed("bench", "serve", "--json", "--quiet", *args).stdout)

    def check_row(self, row):
        self.assertGreater(row["completed"], 0, row)
        self.assertEqual(row["offered"], row["completed"], row)
        self.assertEqual([row["refused"], row["failed"], row["unfinished"], row["errors"]], [0, 0, 0, []], row)
        self.assertGreater(row["output_tokens_per_s"], 0)
        for times in row["first_token_ms"], row["inter_token_ms"]:
            self.assertEqual(list(times), ["p50", "p95", "p99"])
            self.assertLess(0, times["p50"])
            self.assertLessEqual(times["p50"], times["p95"])
            self.assertLessEqual(times["p95"], times["p99"])
        server = row["server"]
        self.assertGreater(server["samples"], 0)
        self.assertGreater(server["rss_peak_bytes"], 20 << 20)
        self.assertGreater(server["rss_first_quarter_bytes"], 20 << 20)
        self.assertGreater(server["rss_last_quarter_bytes"], 20 << 20)
        self.assertLessEqual(server["kv_host_peak_bytes"], server["kv_host_budget_bytes"])

    def test_rows_of_both_places(self):
        out = self.bench("--model", MODEL, "--kv-host", "16MiB", "--kv-disk", self.tmp, "--rate", 8, "--concurrency", 2,
                         "--shared-prefix", 512, "--prefix-groups", 1, *SHORT)
        self.assertEqual([(row["kv"], row.get("rate"), row.get("concurrency")) for row in out["rows"]],
                         [("offload", 8, None), ("offload", None, 2), ("ram", 8, None), ("ram", None, 2)])
        for row in out["rows"]:
            self.check_row(row)
            self.assertEqual(row["server"]["kv_host_budget_bytes"], 16 << 20)
            self.assertEqual(row["cached_tokens"] % 512, 0)
            self.assertEqual(row["server"]["kv_disk_peak_bytes"] > 0, row["kv"] == "offload")
        # A Poisson process of one seed brings the same requests to both; in each row one of them reads what is shared.
        self.assertEqual(out["rows"][0]["prompt_tokens"], out["rows"][2]["prompt_tokens"])
        self.assertGreater(out["rows"][1]["cached_tokens"], 0)

    def test_a_table_for_people(self):
        table = self.succeed("bench", "serve", "--quiet", "--model", MODEL, "--kv", "ram", "--concurrency", 1, *SHORT).stdout
        self.assertIn("first token ms p50 / p95 / p99", table)
        self.assertRegex(table, r"(?m)^ram +1 clients")

    def test_conversations(self):
        out = self.bench("--model", MODEL, "--conversations", "1K", "--offered", 8, "--max-tokens", 512, "--hold", 0.5,
                         "--kv-host", "13MiB", "--kv-disk", self.tmp)
        offload, ram = out["rows"]
        for row in offload, ram:
            self.assertEqual([row["offered"], row["failed"], row["refused"], row["errors"]], [8, 0, 0, []], row)
        self.assertEqual(offload["answering"], 8)
        self.assertEqual([ram["answering"], ram["server"]["running_peak"]], [2, 2])

    def serve(self, *args):
        """The URL of a server that ends with the case."""
        server = subprocess.Popen([PROGRAM, "serve", "--model", MODEL, "--port", "0", "--quiet", *map(str, args)],
                                  stdout=subprocess.PIPE, encoding="utf-8")
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        return re.fullmatch(r"ready (.*)\n", server.stdout.readline()).group(1)

    def test_a_server_that_runs_already(self):
        url = self.serve("--kv-host", "64MiB", "--context", 1024)
        out = self.bench("--url", url, "--concurrency", 2, *SHORT)
        self.assertEqual((out["url"], out["model"], len(out["rows"])), (url, "nosa-21m", 1))
        self.check_row(out["rows"][0])

    def test_refused_is_not_failed(self):
        url = self.serve("--max-requests", 1, "--max-queue", 0)
        row = self.bench("--url", url, "--concurrency", 4, *SHORT)["rows"][0]
        self.assertGreater(row["completed"], 0)
        self.assertGreater(row["refused"], 0)
        self.assertEqual([row["failed"], row["offered"]], [0, row["completed"] + row["refused"] + row["unfinished"]])
        self.assertRegex(row["errors"][0], "refused with status 503")

    def test_what_the_server_does_not_take_fails(self):
        url = self.serve("--context", 128)
        done = run("bench", "serve", "--url", url, "--concurrency", 1, "--prompt-tokens", 256, "--warm-up", 0, "--duration", 0.5,
                   "--quiet", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"^nosa bench serve: \d+ requests failed, the first with: expected status 200, found 400")
        row = json.loads(done.stdout)["rows"][0]
        self.assertEqual([row["completed"], row["refused"], row["failed"]], [0, 0, row["offered"]])

    def test_interrupted(self):
        bench = subprocess.Popen([PROGRAM, "bench", "serve", "--model", MODEL, "--kv", "ram", "--concurrency", "2", "--duration", "600"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        line = ""
        while "2 clients" not in line:
            line = bench.stderr.readline()
            self.assertNotEqual(line, "", "it ended by itself")
        bench.send_signal(signal.SIGINT)
        out, err = bench.communicate(timeout=120 if SANITIZED else 30)
        self.assertEqual((bench.returncode, out, err), (1, "", "nosa bench serve: interrupted\n"))

    def test_refuses(self):
        self.fail_with(2, "expected one of --model and --url, found none", "bench", "serve")
        self.fail_with(2, "expected one of --model and --url, found both", "bench", "serve", "--model", MODEL, "--url", "http://a:1")
        self.fail_with(2, "expected offload or ram, found \"disk\"", "bench", "serve", "--model", MODEL, "--kv", "disk")
        self.fail_with(2, "above 0 and to 10000, found \"0\"", "bench", "serve", "--model", MODEL, "--rate", "1,0")
        self.fail_with(2, "HIGH at least LOW, found \"9:8\"", "bench", "serve", "--model", MODEL, "--prompt-tokens", "9:8")
        self.fail_with(2, "as 16384 or 16K, found \"16M\"", "bench", "serve", "--model", MODEL, "--conversations", "16M")
        self.fail_with(2, "more tokens than the 64 of --max-tokens, found 64", "bench", "serve", "--model", MODEL, "--conversations", 64)
        self.fail_with(1, "takes 32832 tokens with its answer, the model reads at most 32768", "bench", "serve", "--model", MODEL,
                       "--prompt-tokens", "32K", "--quiet")
        self.fail_with(1, "connection failed", "bench", "serve", "--url", "http://127.0.0.1:1")
        self.fail_with(1, "expected http://HOST:PORT, found \"there\"", "bench", "serve", "--url", "there")
        self.fail_with(1, r"--kv ram: 1088 tokens take .*, found 1.0 MiB", "bench", "serve", "--model", MODEL, "--kv", "ram",
                       "--kv-host", "1MiB", "--prompt-tokens", "1K", "--quiet")


if __name__ == "__main__":
    main()
