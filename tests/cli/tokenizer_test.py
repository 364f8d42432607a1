"""`nosa tokenizer`: tokenizer_test.py PROGRAM MODEL SANITIZERS."""
import filecmp
import json
import os
import unittest

from program import MODEL, ProgramTest, main, small_disk

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DOCS = os.path.join(ROOT, "docs")
TEXTS = ["", "hello", "  two  blanks\n\n\tand a tab ", "Grüße, naïve café. Привет, мир. 你好，世界。 😀 e\u0301", "<s> is text no more</s>",
         "x" * 5000, "".join(map(chr, range(1, 0x300)))]


class TrainTest(ProgramTest):
    def train(self, *args):
        return json.loads(self.succeed("tokenizer", "train", "--json", *args).stdout)

    def encode(self, file, text):
        """Ids and what they decode to."""
        out = json.loads(self.succeed("tokenizer", "inspect", "--file", file, "--text", text, "--json").stdout)
        return out["ids"], out["decoded"]

    def test_docs_to_tokenizer(self):
        out = self.train("--source", DOCS, "--vocab-size", 2000, "--out", self.path("model"))
        self.assertEqual(out["vocab_size"], 2000)
        self.assertEqual(out["special_tokens"], ["<s>", "</s>", "<pad>"])
        self.assertTrue(out["measured"]["held_out"])
        # Bytes alone have 1. How much more it is moves with every change of the docs.
        self.assertGreater(out["measured"]["bytes_per_token"], 1.5)
        self.assertGreater(out["words"], out["distinct_words"])
        self.assertEqual(sorted(os.listdir(self.path("model"))), ["tokenizer.json", "tokenizer_config.json"])
        for text in TEXTS:
            ids, decoded = self.encode(out["file"], text)
            self.assertEqual(decoded, text)
            self.assertTrue(all(0 <= i < 2000 for i in ids))
        self.assertEqual(self.encode(out["file"], "<s>a</s><pad>")[0][::2], [0, 1], "special tokens by their first ids")

    def test_threads_give_the_same_file(self):
        files = []
        for threads in (1, 2, 5):
            files.append(self.path(f"{threads}.json"))
            self.train("--source", DOCS, "--vocab-size", 1000, "--out", files[-1], "--threads", threads)
        for file in files[1:]:
            self.assertTrue(filecmp.cmp(files[0], file, shallow=False), file)

    def test_the_engine_loads_the_directory(self):
        model = self.path("model")
        os.mkdir(model)
        for name in ("config.json", "model.safetensors"):
            os.symlink(os.path.join(MODEL, name), os.path.join(model, name))
        self.train("--source", DOCS, "--source", os.path.join(ROOT, "src"), "--vocab-size", 8192, "--out", model)
        out = json.loads(self.succeed("generate", "--model", model, "--prompt", "a prompt", "--max-tokens", 4, "--json").stdout)
        self.assertEqual(len(out["ids"]), 4)
        self.assertEqual(json.loads(self.succeed("inspect", "--model", model, "--json").stdout)["model"]["tokenizer"], {"vocab": 8192})

    def test_own_special_tokens(self):
        source = self.write("a.txt", "to be or not to be, " * 50)
        out = self.train("--source", source, "--vocab-size", 300, "--out", self.path("model/"), "--special", "<|begin|>", "--special", "<|end|>")
        self.assertEqual(out["special_tokens"], ["<|begin|>", "<|end|>"])
        self.assertLess(out["vocab_size"], 300, "there is not so much to learn")
        self.assertEqual(self.encode(out["file"], "<|end|>")[0], [1])
        with open(self.path("model/tokenizer_config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.assertEqual((config["bos_token"], config["eos_token"]), ("<|begin|>", "<|end|>"))
        self.assertNotIn("pad_token", config)

    def test_for_people(self):
        done = self.succeed("tokenizer", "train", "--source", DOCS, "--vocab-size", 500, "--out", self.path("a.json"))
        for said in ("tokens           500\n", "bytes per token  ", "longest          \"", "learning"):
            self.assertIn(said, done.stdout)
        done = self.succeed("tokenizer", "inspect", "--model", MODEL, "--text", "read ы")
        self.assertRegex(done.stdout, r'(?s)id  piece.*"read".*"<0xD1>"')

    def test_files_that_are_not_text(self):
        folder = self.path("texts")
        os.mkdir(folder)
        for name, content in (("a.txt", b"to be or not to be, " * 50), ("latin.txt", b"caf\xe9 " * 50), ("binary.txt", b"a\0b"), ("empty.txt", b"")):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        out = self.train("--source", folder, "--vocab-size", 270, "--out", self.path("a.json"))
        self.assertEqual((out["files_left_out"], out["bytes"]), (3, 1000))
        self.assertFalse(out["measured"]["held_out"])
        said = self.succeed("tokenizer", "train", "--source", folder, "--vocab-size", 270, "--out", self.path("a.json")).stdout
        self.assertIn("3 files", said)
        self.fail_with(1, "expected text in UTF-8, found other bytes in .*latin.txt", "tokenizer", "train", "--source",
                       os.path.join(folder, "latin.txt"), "--out", self.path("b.json"))
        os.unlink(os.path.join(folder, "a.txt"))
        self.fail_with(1, r"expected text in UTF-8, found none \(1 files in other encodings\)", "tokenizer", "train", "--source", folder,
                       "--out", self.path("b.json"))

    def test_refuses(self):
        source = self.write("a.txt", "to be or not to be\n")
        good = ("tokenizer", "train", "--source", source, "--out", self.path("b.json"))
        self.fail_with(2, "too small: expected at least 259 .3 special tokens, 256 bytes", *good, "--vocab-size", 258)
        self.fail_with(2, "--vocab-size: expected an integer", *good, "--vocab-size", "many")
        self.fail_with(2, '"x y" comes twice', *good, "--special", "x y", "--special", "x y")
        self.fail_with(2, "the regular expression .* is wrong", *good, "--pattern", "(")
        self.fail_with(2, "--source is required", "tokenizer", "train", "--out", self.path("b.json"))
        self.fail_with(2, "--out is required", "tokenizer", "train", "--source", source)
        self.fail_with(1, "no such file or folder", "tokenizer", "train", "--source", self.path("none"), "--out", self.path("b.json"))
        os.mkdir(self.path("nothing"))
        self.fail_with(1, "expected text, found none", "tokenizer", "train", "--source", self.path("nothing"), "--out", self.path("b.json"))
        self.fail_with(1, "there is no directory", "tokenizer", "train", "--source", source, "--out", self.path("none/b.json"))
        self.fail_with(1, "there is no directory", "tokenizer", "train", "--source", source, "--out", self.path("none/model"))
        self.fail_with(2, "expected one of --model and --file, found none", "tokenizer", "inspect", "--text", "a")
        self.fail_with(1, "No such file", "tokenizer", "inspect", "--file", self.path("none.json"), "--text", "a")

    def test_a_disk_that_is_full_or_read_only(self):
        place = self.path("small")
        os.mkdir(place)
        namespace = small_disk(place, "16k")
        if namespace is None:
            self.skipTest("this system refuses a mount namespace, where a small file system could be mounted")
        args = ("tokenizer", "train", "--source", DOCS, "--vocab-size", 1000)
        for out in (place, os.path.join(place, "a.json"), os.path.join(place, "model")):
            self.fail_with(1, "No space left on device|is full", *args, "--out", out, within=namespace)
        if os.geteuid() != 0:
            os.chmod(place, 0o500)
            self.fail_with(1, "cannot write in", *args, "--out", place)



if __name__ == "__main__":
    main()
