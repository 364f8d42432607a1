"""lm-evaluation-harness through `local-completions` agrees with `nosa eval ppl`: lm_eval_test.py PROGRAM MODEL."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import lm_eval
from lm_eval.tasks import TaskManager

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../server"))
from server import MODEL, PROGRAM, Server, main  # noqa: E402

TOLERANCE = 1e-3  # nats a token


class LmEvalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", 4096, "--quiet")
        cls.addClassCleanup(cls.server.stop)
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.ids_file = os.path.join(directory.name, "ids.json")
        found = lm_eval.simple_evaluate(
            model="local-completions",
            model_args={"model": cls.server.ready["model"], "base_url": f"http://127.0.0.1:{cls.server.port}/v1/completions",
                        "tokenizer_backend": "remote", "max_length": 4096, "num_concurrent": 4},
            tasks=["nosa_rolling", "nosa_continuation"], task_manager=TaskManager(include_path=HERE, include_defaults=False),
            log_samples=True, bootstrap_iters=0)
        cls.results, cls.samples = found["results"], found["samples"]

    def encode(self, text):
        return self.server.ask("POST", "/tokenize", {"prompt": text, "add_special_tokens": False})[2]["tokens"]

    def loss(self, ids):
        """The summed loss of ids[1:], by the command."""
        if len(ids) < 2:
            return 0
        with open(self.ids_file, "w", encoding="utf-8") as file:
            json.dump(ids, file)
        done = subprocess.run([PROGRAM, "eval", "ppl", "--model", MODEL, "--ids", self.ids_file, "--json", "--threads", "2"],
                              check=True, capture_output=True)
        report = json.loads(done.stdout)
        return report["loss"] * report["tokens"]

    @staticmethod
    def logprob(sample):
        """What the harness got from the server."""
        value = sample["filtered_resps"][0]
        return float(value[0] if isinstance(value, (list, tuple)) else value)

    def test_rolling(self):
        samples = self.samples["nosa_rolling"]
        self.assertGreater(len(samples), 8)
        # The harness puts a token before each text; which, its own rule says.
        prefix = self.encode("</s>")
        total, tokens = 0, 0
        for sample in samples:
            ids = self.encode(sample["doc"]["text"])
            loss = self.loss(prefix + ids)
            self.assertAlmostEqual(-self.logprob(sample) / len(ids), loss / len(ids), delta=TOLERANCE)
            total, tokens = total + loss, tokens + len(ids)
        words = sum(len(sample["doc"]["text"].split()) for sample in samples)
        self.assertGreater(words, 500)
        print(f"mean loss of {tokens} tokens: {total / tokens:.6f} by nosa eval ppl, "
              f"{-sum(map(self.logprob, samples)) / tokens:.6f} by lm_eval")

    def test_continuation(self):
        samples = self.samples["nosa_continuation"]
        total, ours, tokens = 0, 0, 0
        for sample in samples:
            whole, first = self.encode(sample["doc"]["text"]), self.encode(sample["doc"]["first"])
            if whole[:len(first)] != first:
                continue  # the cut is inside a token, where the harness has rules of its own
            loss = self.loss(whole) - self.loss(first)
            count = len(whole) - len(first)
            self.assertAlmostEqual(-self.logprob(sample) / count, loss / count, delta=TOLERANCE)
            total, ours, tokens = total - self.logprob(sample), ours + loss, tokens + count
        self.assertGreater(tokens, 500)
        print(f"mean loss of {tokens} tokens after a first line: {ours / tokens:.6f} by nosa eval ppl, {total / tokens:.6f} by lm_eval")


if __name__ == "__main__":
    main()
