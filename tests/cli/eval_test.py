"""`nosa eval` and `nosa demo`: eval_test.py PROGRAM MODEL SANITIZERS."""
import json
import math
import os
import unittest

from program import MODEL, ProgramTest, main, run

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "base")


class PerplexityTest(ProgramTest):
    def test_loss_is_the_mean_of_its_buckets(self):
        text = self.write("text.py", "def f(x):\n    return x + 1\n\n" * 30)
        out = json.loads(self.succeed("eval", "ppl", "--model", MODEL, "--text", text, "--tokens", 200, "--bucket", 64, "--json").stdout)
        self.assertEqual(out["tokens"], 199)
        self.assertEqual([b["tokens"] for b in out["buckets"]], [64, 64, 64, 7])
        self.assertAlmostEqual(sum(b["loss"] * b["tokens"] for b in out["buckets"]) / 199, out["loss"])
        self.assertAlmostEqual(math.exp(out["loss"]), out["perplexity"])
        self.assertLess(out["buckets"][2]["loss"], out["buckets"][0]["loss"], "what repeats is easy")
        table = self.succeed("eval", "ppl", "--model", MODEL, "--text", text, "--tokens", 200, "--quiet").stdout
        self.assertIn(f"{out['loss']:.4f}", table)

    def test_ids_need_no_text(self):
        out = json.loads(self.succeed("eval", "ppl", "--model", MODEL, "--ids", self.write("ids.json", [5, 6, 7, 8]), "--json").stdout)
        self.assertEqual(out["tokens"], 3)

    def test_refuses(self):
        self.fail_with(2, "expected one of --text and --ids, found none", "eval", "ppl", "--model", MODEL)
        self.fail_with(1, "at least 2 tokens", "eval", "ppl", "--model", MODEL, "--ids", self.write("one.json", [5]))


class RecallTest(ProgramTest):
    def test_json_says_every_fact(self):
        args = ("eval", "recall", "--model", MODEL, "--source", SOURCES, "--lengths", "700,1024", "--facts", 2, "--texts", 1)
        out = json.loads(self.succeed(*args, "--json").stdout)
        self.assertEqual([length["tokens"] for length in out["lengths"]], [700, 1024])
        for length in out["lengths"]:
            facts = length["texts"][0]["facts"]
            self.assertEqual(len(facts), 2)
            self.assertEqual(sum(fact["ok"] for fact in facts), length["correct"])
            for fact in facts:
                self.assertEqual(fact["ok"], fact["answer"] == fact["truth"])
        self.assertGreaterEqual(sum(length["correct"] for length in out["lengths"]), 2)
        self.assertIn("all depths", self.succeed(*args).stdout)

    def test_refuses(self):
        self.fail_with(1, "no such file or folder", "eval", "recall", "--model", MODEL, "--source", self.path("none"))
        self.fail_with(1, "a text of at least", "eval", "recall", "--model", MODEL, "--source", self.write("a.txt", "short\n"))
        self.fail_with(2, "--source is required", "eval", "recall", "--model", MODEL)


class TasksTest(ProgramTest):
    def test_a_text_may_be_as_long_as_the_model_reads(self):
        model = self.path("short")
        os.mkdir(model)
        for name in ("tokenizer.json", "model.safetensors"):
            os.symlink(os.path.join(os.path.abspath(MODEL), name), os.path.join(model, name))
        with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as file:
            config = dict(json.load(file), max_position_embeddings=512)
        self.write("short/config.json", config)
        out = json.loads(self.succeed("eval", "tasks", "--model", model, "--source", SOURCES, "--task", "facts", "--lengths", 512,
                                      "--texts", 1, "--questions", 1, "--json").stdout)
        self.assertEqual(out["results"][0]["asked"], 1)

    def test_json_says_every_question(self):
        args = ("eval", "tasks", "--model", MODEL, "--source", SOURCES, "--task", "facts", "--task", "commonwords",
                "--lengths", "700,1024", "--texts", 1, "--questions", 2, "--seed", 3, "--topk", 24, "--quiet")
        out = json.loads(self.succeed(*args, "--json").stdout)
        self.assertEqual([out[key] for key in ("seed", "texts", "questions", "attention", "prefill", "topk", "query_topk")],
                         [3, 1, 2, "nosa", "sparse", 24, 8])
        self.assertRegex(out["model_fingerprint"], "^0x[0-9a-f]{16}$")
        self.assertEqual([(r["task"], r["tokens"], r["asked"]) for r in out["results"]],
                         [("facts", 700, 2), ("facts", 1024, 2), ("commonwords", 700, 1), ("commonwords", 1024, 1)])
        for result in out["results"]:
            (text,) = result["texts"]
            self.assertEqual(text["seed"], 3)
            self.assertEqual(len(text["questions"]), result["asked"])
            self.assertEqual(sum(q["ok"] for q in text["questions"]), result["correct"])
            self.assertEqual(text["kv"]["answering"]["hit_rate"], 1)
            tokens = sum(q["truth_tokens"] for q in text["questions"])
            self.assertAlmostEqual(sum(q["loss"] * q["truth_tokens"] for q in text["questions"]) / tokens, result["loss"])
            self.assertEqual(tokens, result["truth_tokens"])
            self.assertEqual(sum(q["truth_tokens_likeliest"] for q in text["questions"]), result["truth_tokens_likeliest"])
            for q in text["questions"]:
                self.assertEqual(q["ok"], q["answer"] == q["truth"])
                self.assertLessEqual(q["truth_tokens_likeliest"], q["truth_tokens"])
                self.assertEqual(q["ok"], q["truth_tokens_likeliest"] == q["truth_tokens"], "greedy is the likeliest")
                self.assertLess(q["evidence"][0], text["document_tokens"])
        self.assertGreaterEqual(sum(r["correct"] for r in out["results"]), 2, "the card says 91 % of facts at 4,096 tokens")
        table = self.succeed(*args).stdout
        self.assertRegex(table, r"task +tokens +0 to 50 % +50 to 100 % +all depths +tokens right +loss\n")
        self.assertIn(f"{out['results'][0]['loss']:.3f}", table)
        self.assertRegex(table, r"commonwords +700 +\d/1 +- ")

    def test_every_task_by_default(self):
        out = json.loads(self.succeed("eval", "tasks", "--model", MODEL, "--source", SOURCES, "--lengths", 1024, "--texts", 1,
                                      "--questions", 1, "--attention", "full", "--json").stdout)
        self.assertEqual([r["task"] for r in out["results"]],
                         ["facts", "multikey", "multivalue", "keyvalue", "variables", "commonwords", "copy"])
        self.assertEqual(out["attention"], "full")

    def test_refuses(self):
        good = ("eval", "tasks", "--model", MODEL, "--source", SOURCES)
        self.fail_with(2, r"--task: expected a task \(facts, .*copy\), found \"riddle\"", *good, "--task", "riddle")
        self.fail_with(2, "--source is required", "eval", "tasks", "--model", MODEL)
        self.fail_with(1, r"facts: expected at least \d+ tokens for 4 questions, found 64", *good, "--lengths", 64)
        self.fail_with(1, "expected a text of at least 4096 tokens", "eval", "tasks", "--model", MODEL, "--source",
                       self.write("a.txt", "short\n"))
        self.fail_with(1, "found none", "eval", "tasks", "--model", MODEL, "--source",
                       self.write("a.txt", "# The secret number of apple is 12345.\n"))


class DemoTest(ProgramTest):
    def test_offloaded_is_in_ram(self):
        args = ("demo", "--model", MODEL, "--source", SOURCES, "--tokens", 2000, "--facts", 2, "--kv-host", "4MiB")
        out = json.loads(self.succeed(*args, "--json").stdout)
        self.assertTrue(out["same_tokens"] and out["same_fingerprint"])
        self.assertEqual(out["offloaded"]["fingerprint"], out["in_ram"]["fingerprint"])
        self.assertLessEqual(out["offloaded"]["kv"]["host_peak_bytes"], 4 << 20)
        self.assertGreater(out["offloaded"]["kv"]["answering"]["bytes_fetched"], 0)
        self.assertEqual(out["in_ram"]["kv"]["disk_bytes"], 0)
        text = self.succeed(*args).stdout
        self.assertIn("Answer tokens: equal", text)
        for line in text.splitlines():
            self.assertEqual(line, line.rstrip())

    def test_needs_something_to_read(self):
        done = run("demo", "--model", MODEL, cwd=self.tmp)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--source PATH", done.stderr)


if __name__ == "__main__":
    main()
