"""`nosa train` as its users meet it: a folder of text becomes a model that `nosa generate` reads; wrong input of every kind.

usage: train_cli_test.py NOSA MODEL
"""
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NOSA, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
SIZES = ["--layers", "2", "--hidden", "32", "--heads", "2", "--kv-heads", "1", "--block-size", "16", "--kernel-size", "8",
         "--kernel-stride", "4", "--window-size", "16", "--topk", "6", "--query-topk", "2"]
STAGES = ["--stage", "tokens=2K,length=64,attention=full", "--stage", "tokens=4K,length=128,attention=nosa"]


def run(*arguments, **options):
    return subprocess.run([NOSA, *map(str, arguments)], capture_output=True, text=True, timeout=240, **options)


class Train(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.texts = self.root / "texts"
        self.texts.mkdir()
        for i in range(30):
            lines = [f"In line {j} of text {i} there are {i * j} things to be counted.\n" for j in range(20)]
            (self.texts / f"{i}.txt").write_text("".join(lines))
        self.out = self.root / "model"

    def train(self, *more, out=None, sizes=SIZES, tokenizer=MODEL, data=None, stages=STAGES, **options):
        arguments = ["train", "--data", data or self.texts, "--out", out or self.out, "--batch", "4", "--threads", "2",
                     "--held-out", "0.1", *stages, *sizes, *more]
        if tokenizer:
            arguments += ["--tokenizer", tokenizer]
        return run(*arguments, **options)

    def refused(self, done, *words, code=1):
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("nosa train: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def losses(self):
        return [(row["step"], row["loss"]) for row in map(json.loads, (self.out / "log.jsonl").read_text().splitlines())]

    def test_a_folder_becomes_a_model_that_generates(self):
        done = self.train("--task", "facts:0.3", "--json", "--save-every", "5")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        steps = [row for row in rows if "held_out" not in row]
        self.assertEqual([row["step"] for row in steps], list(range(1, steps[-1]["steps"] + 1)))
        self.assertEqual({row["held_out"] for row in rows if "held_out" in row}, {str(self.texts), "facts"})
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["sparse_config"]["block_size"], 16)
        answer = run("generate", "--model", self.out, "--prompt", "In line", "--max-tokens", "4", "--attention", "nosa", "--json")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        # From it, with the same sizes, and a dense stage.
        more = self.train("--init", self.out, out=self.root / "more", sizes=[], tokenizer=None,
                          stages=["--stage", "tokens=1K,length=64,attention=full"])
        self.assertEqual(more.returncode, 0, more.stderr)
        self.assertIn("parameters", more.stdout)
        self.assertNotIn("not measured", more.stdout)
        short = self.train(out=self.root / "short", stages=["--stage", "tokens=1K,length=2048,attention=full,batch=1"])
        self.assertIn("not measured: --held-out 0.1 of the text is less than one sequence", short.stdout)

    def test_from_text_to_answers_in_three_commands(self):
        tokenizer = self.root / "tokenizer"
        made = run("tokenizer", "train", "--source", self.texts, "--vocab-size", "400", "--out", tokenizer)
        self.assertEqual(made.returncode, 0, made.stderr)
        learnt = self.train("--dtype", "bf16", "--task", "facts:0.5", "--task-parts", "2", "--answer-weight", "10", tokenizer=tokenizer,
                            stages=["--stage", "tokens=8K,length=256,attention=full", "--stage", "tokens=8K,length=512,attention=nosa"])
        self.assertEqual(learnt.returncode, 0, learnt.stderr)
        answer = run("generate", "--model", self.out, "--prompt", "In line", "--max-tokens", "4", "--json")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(json.loads(answer.stdout)["generated_tokens"], 4)
        picture = self.root / "loss.svg"
        subprocess.run([sys.executable, ROOT / "tools" / "training_plot", picture, self.out / "log.jsonl"], check=True, stdout=subprocess.DEVNULL)
        self.assertIn("model", "".join(ElementTree.parse(picture).getroot().itertext()))

    def test_ctrl_c_saves_and_resume_goes_on_with_the_same_losses(self):
        whole = self.train()
        self.assertEqual(whole.returncode, 0, whole.stderr)
        expected, self.out = self.losses(), self.root / "stopped"
        arguments = ["train", "--data", self.texts, "--out", self.out, "--batch", "4", "--threads", "2", "--held-out",
                     "0.1", *STAGES, *SIZES, "--tokenizer", MODEL]
        child = subprocess.Popen([NOSA, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        log = self.out / "log.jsonl"
        while child.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 0, errors)
        again = self.train("--resume")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(self.losses(), expected)

    def test_wrong_input_is_one_sentence(self):
        self.refused(self.train(data=self.root / "nothing"), "nothing")
        (self.root / "empty").mkdir()
        self.refused(self.train(data=self.root / "empty"), "expected text")
        self.refused(self.train(tokenizer=self.texts / "1.txt"), "1.txt")
        self.refused(self.train(stages=["--stage", "tokens=1K,length=100000,attention=full"]), "100000", "at least 100001")
        self.refused(self.train("--task", "riddles:0.5"), "riddles", "facts")
        self.refused(self.train("--answer-weight", "0"), "--answer-weight", "found 0", code=2)
        self.refused(self.train("--delta-rate", "-1"), "rate of delta", "found -1", code=2)
        self.refused(self.train(stages=["--stage", "tokens=1K,length=64,attention=magic"]), "magic", "nosa")
        self.refused(self.train("--stage", "tokens=1K"), "length", code=2)
        self.refused(self.train(tokenizer=None), "--tokenizer", code=2)
        self.refused(self.train(sizes=["--layers", "2"]), "--hidden")
        self.refused(self.train("--heads", "4", "--kv-heads", "3", sizes=["--layers", "1", "--hidden", "32"]), "head")
        self.refused(self.train("--topk", "1", sizes=SIZES[:8]), "topk")
        self.refused(self.train("--resume"), "no run to resume")

    def test_a_checkpoint_of_another_shape(self):
        self.assertEqual(self.train().returncode, 0)
        config = json.loads((self.out / "config.json").read_text())
        config["intermediate_size"] += 64
        (self.out / "config.json").write_text(json.dumps(config))
        self.refused(self.train("--init", self.out, out=self.root / "next", sizes=[]), "gate_proj.weight", "expected", "found")

    def test_a_disk_that_takes_no_more(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))

        self.refused(self.train("--quiet", preexec_fn=limit), "training-state")
        self.assertFalse((self.out / "model.safetensors").exists())

    def test_a_loss_that_is_not_finite(self):
        done = self.train("--rate", "1e30", "--warmup", "0", "--save-every", "1")
        self.refused(done, "of step", "it begins in")

    def test_the_trainer_that_is_not_there(self):
        alone = self.root / "nosa"
        alone.write_bytes(pathlib.Path(NOSA).read_bytes())
        alone.chmod(0o755)
        done = subprocess.run([alone, "train", "--help"], capture_output=True, text=True, timeout=60)
        self.refused(done, "nosa-train", "make trainer")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
