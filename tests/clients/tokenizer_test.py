"""`nosa tokenizer train` learns what Hugging Face's BpeTrainer learns: tokenizer_test.py PROGRAM MODEL."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
from server import MODEL, PROGRAM, main  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
SOURCES = [os.path.join(ROOT, name) for name in ("docs", "src", "tests/golden/tokenizers/llama3_form.json")]
EXTENSIONS = (".c", ".cc", ".cpp", ".h", ".hpp", ".md", ".py", ".rst", ".txt")  # that the program reads in folders
SPECIAL = ["<s>", "</s>", "<pad>"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
PRE_TOKENIZERS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama3": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"),
                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
}
STRANGE = ["", " ", "  two  blanks\n\n\tand a tab ", "Grüße, naïve café. Привет, мир. 你好，世界。 😀 e\u0301", "12345678", "it's IT'S",
           "".join(map(chr, range(1, 0x500))), "<s>a</s> <pad>"]


def texts():
    """What the program reads, in no order that matters."""
    out = []
    for source in SOURCES:
        files = [source] if os.path.isfile(source) else [os.path.join(d, f) for d, _, names in os.walk(source) for f in names
                                                         if f.endswith(EXTENSIONS)]
        for file in files:
            with open(file, encoding="utf-8", newline="") as opened:
                out.append(opened.read())
    return out


class TokenizerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.file = os.path.join(directory.name, "tokenizer.json")
        cls.texts = texts()

    def train(self, *args):
        """The model of our file, and the file as the library loads it."""
        sources = [word for source in SOURCES for word in ("--source", source)]
        subprocess.run([PROGRAM, "tokenizer", "train", *sources, "--out", self.file, "--held-out", "0", "--quiet", *map(str, args)],
                       check=True, capture_output=True)
        with open(self.file, encoding="utf-8") as file:
            return json.load(file)["model"], Tokenizer.from_file(self.file)

    def reference(self, pattern, **options):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = PRE_TOKENIZERS[pattern]
        tokenizer.decoder = decoders.ByteLevel()
        # 2 is our default, and that of the library's ByteLevelBPETokenizer; BpeTrainer's own is 0.
        options.setdefault("min_frequency", 2)
        tokenizer.train_from_iterator(self.texts, trainers.BpeTrainer(
            special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, **options))
        return tokenizer

    def ids(self, text):
        """By the program."""
        done = subprocess.run([PROGRAM, "tokenizer", "inspect", "--file", self.file, "--text", text, "--json"], check=True, capture_output=True)
        return json.loads(done.stdout)["ids"]

    def test_same_tokens_and_merges(self):
        self.assertGreater(sum(map(len, self.texts)), 1 << 20)
        for pattern, ours, theirs in (
            ("gpt2", ("--vocab-size", 1000), {"vocab_size": 1000}),
            ("gpt2", ("--vocab-size", 8192), {"vocab_size": 8192}),
            ("gpt2", ("--vocab-size", 60000), {"vocab_size": 60000}),  # more than there is to learn
            ("gpt2", ("--vocab-size", 60000, "--min-frequency", 0), {"vocab_size": 60000, "min_frequency": 0}),
            ("gpt2", ("--vocab-size", 8192, "--min-frequency", 40), {"vocab_size": 8192, "min_frequency": 40}),
            # Their tokens stay below the length they are given.
            ("gpt2", ("--vocab-size", 8192, "--max-token-bytes", 6), {"vocab_size": 8192, "max_token_length": 7}),
            ("llama3", ("--vocab-size", 8192), {"vocab_size": 8192}),
        ):
            with self.subTest(pattern=pattern, ours=ours):
                model, _ = self.train("--pattern", pattern, *ours)
                expected = json.loads(self.reference(pattern, **theirs).to_str())["model"]
                self.assertEqual([merge.split(" ") for merge in model["merges"]], expected["merges"])
                self.assertEqual(model["vocab"], expected["vocab"])
                self.assertGreater(len(model["merges"]), 500)
                print(f"{pattern} {' '.join(map(str, ours))}: {len(model['merges'])} merges, all equal")

    def test_same_ids(self):
        for pattern in PRE_TOKENIZERS:
            _, loaded = self.train("--pattern", pattern, "--vocab-size", 4000)
            reference = self.reference(pattern, vocab_size=4000)
            for text in STRANGE + [text[:3000] for text in self.texts[::40]]:
                ids = self.ids(text)
                self.assertEqual(loaded.encode(text).ids, ids)
                self.assertEqual(reference.encode(text).ids, ids)
                self.assertEqual(loaded.decode(ids, skip_special_tokens=False), text)
            self.assertEqual([loaded.token_to_id(token) for token in SPECIAL], [0, 1, 2])

    def test_form_of_the_demo_model(self):
        _, loaded = self.train("--vocab-size", 400)
        ours, demo = json.loads(loaded.to_str()), json.loads(Tokenizer.from_file(os.path.join(MODEL, "tokenizer.json")).to_str())
        for each in (ours, demo):
            del each["model"]["vocab"], each["model"]["merges"]
        self.assertEqual(ours, demo)


if __name__ == "__main__":
    main()
