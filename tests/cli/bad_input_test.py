"""Bad input gives one clear sentence, exit code 1 or 2, and nothing written: bad_input_test.py PROGRAM MODEL SANITIZERS."""
import json
import os
import re
import struct

from program import MODEL, ProgramTest, main, run, small_disk


class UsageTest(ProgramTest):
    """Wrong usage is exit code 2, found before anything is opened."""

    def test_wrong_usage(self):
        good = ("--model", MODEL, "--prompt", "a")
        for pattern, args in (
            (r"--model is required", ("--prompt", "a")),
            (r"expected one of --prompt, --prompt-file and --ids, found none", ("--model", MODEL)),
            (r"found several", (*good, "--ids", "x.json")),
            (r"--nonsense", (*good, "--nonsense")),
            (r"--topk: expected an integer of at least 1, found \"0\"", (*good, "--topk", 0)),
            (r"--max-tokens: expected an integer of at least 0, found \"many\"", (*good, "--max-tokens", "many")),
            (r"--temperature: expected a number, found \"hot\"", (*good, "--temperature", "hot")),
            (r"top_p", (*good, "--top-p", 1.5)),
            (r"--attention: expected auto\|nosa\|.*, found \"some\"", (*good, "--attention", "some")),
            (r"--kv-host: expected a size such as 512MiB.*, found \"lots\"", (*good, "--kv-host", "lots")),
            (r"--kv-disk: .*found \"/tmp:10XB\"|found \"10XB\"", (*good, "--kv-disk", "/tmp:10XB")),
            (r"--kv-direct: expected on or off, found \"maybe\"", (*good, "--kv-direct", "maybe")),
            (r"--kv-device needs --backend cuda", (*good, "--kv-device", "1GiB")),
            (r"--gpu-memory needs --backend cuda", (*good, "--gpu-memory", "1GiB")),
            (r"--kv-device is memory of decode steps that the device plans, found --decode planned",
             (*good, "--kv-device", "1GiB", "--decode", "planned")),
            (r"--record-trace writes what the host plans step by step, found --decode step",
             (*good, "--record-trace", "x", "--decode", "step")),
        ):
            with self.subTest(args=args):
                self.fail_with(2, pattern, "generate", *args)
        # Not in this build: wrong usage. Without a GPU: the sentence says why. With one it works.
        cuda = (*good, "--backend", "cuda", "--max-tokens", 1)
        code = run("generate", *cuda).returncode
        if code != 0:
            self.fail_with(code, {2: r"--backend cuda is not built in", 1: r"--backend cuda: .+"}[code], "generate", *cuda)
        self.fail_with(2, r"--stop: expected text", "generate", *good, "--stop", "")
        self.fail_with(2, r"--out is required", "trace", "--model", MODEL, "--ids", "x.json")
        self.fail_with(2, r"expected one of --ids and --prompt-file", "trace", "--model", MODEL, "--out", "x")
        self.fail_with(1, r"--batch takes one number from 1 on", "bench", "decode", "--model", MODEL, "--backend", "cpu", "--batch", "0")

    def test_what_measures_a_gpu_needs_one(self):
        self.fail_with(2, r"--kv-disk: .*found \"\"", "bench", "transfer", "--kv-disk", "")
        self.fail_with(2, r"--repeats: expected an integer of at least 1, found \"0\"", "bench", "transfer", "--repeats", 0)
        if run("generate", "--model", MODEL, "--prompt", "a", "--backend", "cuda", "--max-tokens", 1).returncode == 0:
            self.skipTest("there is a GPU")
        self.fail_with(1, r"bench transfer: .*(the CUDA backend is not built in|no GPU can be used: .)", "bench", "transfer")
        self.fail_with(1, r"bench transfer: .*(the CUDA backend is not built in|no GPU can be used: .)", "bench", "transfer", "--json")

    def test_a_command_that_is_missing_or_unknown(self):
        for args in ((), ("bench",), ("eval",)):
            done = run(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertRegex(done.stderr, rf"(?s)Usage: nosa {' '.join(args)}.*Subcommands:")
        for args, said in ((("answer",), 'nosa: unknown command "answer"; commands: demo, generate, '),
                           (("bench", "encode"), 'nosa bench: unknown command "encode"; commands: decode, prefill, serve, ops, transfer'),
                           (("--verbose",), 'nosa: unknown option "--verbose"; commands: ')):
            done = run(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)


class PromptTest(ProgramTest):
    def fail_ids(self, pattern, content):
        self.fail_with(1, pattern, "generate", "--model", MODEL, "--max-tokens", 1, "--ids", self.write("ids.json", content))

    def test_ids(self):
        self.fail_ids(r"ids\.json.*8192.*outside the vocabulary of 8192", [5, 8192])
        self.fail_ids(r"ids\.json.*-1.*outside the vocabulary", [-1])
        self.fail_ids(r"ids\.json.*expected token ids, found 99999999999 at place 1", [1, 99999999999])
        self.fail_ids(r"ids\.json.*expected token ids, found 1\.5 at place 0", [1.5])
        self.fail_ids(r"ids\.json.*expected token ids, found \"a\" at place 0", ["a"])
        self.fail_ids(r"ids\.json.*expected a JSON array of token ids, found object", {"ids": [1]})
        self.fail_ids(r"ids\.json", "[1, 2")
        self.fail_ids(r"ids\.json: the prompt is empty", [])

    def test_missing_files_and_empty_prompts(self):
        model = ("generate", "--model", MODEL)
        self.fail_with(1, r"none\.json.*No such file", *model, "--ids", self.path("none.json"))
        self.fail_with(1, r"none\.txt.*No such file", *model, "--prompt-file", self.path("none.txt"))
        self.fail_with(1, r"--prompt: the prompt is empty", *model, "--prompt", "")
        self.fail_with(1, r"empty\.txt: the prompt is empty", *model, "--prompt-file", self.write("empty.txt", ""))

    def test_longer_than_the_model(self):
        ids = self.write("ids.json", [5] * 32769)
        self.fail_with(1, r"at most 32768 tokens, the prompt has 32769", "generate", "--model", MODEL, "--ids", ids)
        self.fail_with(1, r"--context asks for 32769 tokens, the model reads at most 32768", "inspect", "--model", MODEL, "--context", 32769)
        for what in ("decode", "prefill"):
            self.fail_with(1, r"--context asks for \d+ tokens, the model reads at most 32768", "bench", what, "--model", MODEL, "--context", 40000)

    def test_chunk_that_is_no_multiple_of_the_block(self):
        self.fail_with(1, r"multiple of the block of 64 tokens, found 100", "generate", "--model", MODEL, "--prompt", "a", "--prefill-chunk", 100)


class TraceTest(ProgramTest):
    def trace(self, pattern, ids, out, *args):
        self.fail_with(1, pattern, "trace", "--model", MODEL, "--ids", self.write("ids.json", ids), "--out", self.path(out), *args)

    def test_nothing_is_written(self):
        self.write("ids.json", [])
        self.trace(r"outside the vocabulary", [9000], "t.safetensors")
        self.trace(r"the prompt is empty", [], "t.safetensors")
        self.trace(r"--last asks for 4 positions, .* has 3 tokens", [1, 2, 3], "t.safetensors", "--last", 4)
        self.trace(r"no directory", [1, 2, 3], "none/t.safetensors")
        args = ("generate", "--model", MODEL, "--prompt", "a", "--record-trace")
        self.fail_with(1, r"--record-trace .*: there is no directory", *args, self.path("none/t.safetensors"))
        self.fail_with(1, r"--record-trace .* is a directory", *args, self.tmp)
        self.fail_with(2, r"--record-trace needs decode steps: --max-tokens of at least 2, found 1", *args, self.path("t.safetensors"),
                       "--max-tokens", 1)
        self.assertFalse(os.path.exists(self.path("t.safetensors")))
        file = self.write("a.txt", "a")
        self.fail_with(1, r"--record-trace records one answer, found 2 prompts", "generate", "--model", MODEL, "--prompt-file", file,
                       "--prompt-file", file, "--record-trace", self.path("t.safetensors"))


class CheckpointTest(ProgramTest):
    """A copy of the model with one thing wrong; what is not changed is linked."""

    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        os.mkdir(self.model)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            os.symlink(os.path.join(MODEL, name), os.path.join(self.model, name))

    def replace(self, name):
        path = os.path.join(self.model, name)
        os.remove(path)
        return path

    def replace_json(self, name, change):
        with open(os.path.join(MODEL, name), encoding="utf-8") as file:
            content = json.load(file)
        change(content)
        with open(self.replace(name), "w", encoding="utf-8") as file:
            json.dump(content, file)

    def replace_weights(self, change):
        """The same file with another header and zeros (a hole) for data."""
        source = os.path.join(MODEL, "model.safetensors")
        with open(source, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
        change(header)
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % 64)  # the data begins aligned, as its tool writes it
        with open(self.replace("model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + os.path.getsize(source) - 8 - size)

    def fail(self, pattern):
        ids = self.write("ids.json", [1, 2, 3])
        return self.fail_with(1, pattern, "generate", "--model", self.model, "--ids", ids, "--max-tokens", 1)

    def test_no_such_directory(self):
        self.model = self.path("nowhere")
        self.fail(r"nowhere.*No such file")

    def test_no_weights(self):
        self.replace("model.safetensors")
        self.fail(r"model\.safetensors")

    def test_no_config(self):
        self.replace("config.json")
        self.fail(r"config\.json.*No such file")

    def test_config_that_is_no_json(self):
        with open(self.replace("config.json"), "w", encoding="utf-8") as file:
            file.write("{")
        self.fail(r"config\.json")

    def test_truncated_weights(self):
        with open(os.path.join(MODEL, "model.safetensors"), "rb") as source, open(self.replace("model.safetensors"), "wb") as cut:
            cut.write(source.read(1 << 20))
        self.fail(r"model\.safetensors.*\d+.*\d+")

    def test_header_longer_than_the_file(self):
        with open(self.replace("model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", 1 << 40) + b"{}")
        self.fail(r"model\.safetensors.*1099511627776.*\d+")

    def test_weights_shorter_than_a_header(self):
        with open(self.replace("model.safetensors"), "wb") as file:
            file.write(b"abc")
        self.fail(r"model\.safetensors.*8.*3")

    def test_wrong_shape(self):
        self.replace_weights(lambda header: header["model.layers.0.self_attn.k_proj.weight"].update(shape=[448, 128]))
        self.fail(r"expected model\.layers\.0\.self_attn\.k_proj\.weight \[128, 448\], found \[448, 128\] in model\.safetensors")

    def test_wrong_dtype(self):
        self.replace_weights(lambda header: header["model.layers.0.self_attn.k_proj.weight"].update(dtype="F16"))
        self.fail(r"k_proj.*f16|f16.*k_proj")

    def test_missing_tensor(self):
        def rename(header):
            header["other"] = header.pop("model.layers.3.mlp.up_proj.weight")
        self.replace_weights(rename)
        self.fail(r"model\.layers\.3\.mlp\.up_proj\.weight")

    def test_unknown_architecture(self):
        self.replace_json("config.json", lambda config: config.update(architectures=["MysteryForCausalLM"], model_type="mystery"))
        self.fail(r"LlamaForCausalLM.*found \[\"MysteryForCausalLM\"\]")

    def test_tokenizer_without_vocabulary(self):
        self.replace_json("tokenizer.json", lambda tokenizer: tokenizer["model"].pop("vocab"))
        self.fail_with(1, r"tokenizer\.json.*vocab", "generate", "--model", self.model, "--prompt", "a")

    def test_no_tokenizer_matters_to_text_only(self):
        self.replace("tokenizer.json")
        self.fail_with(1, r"no tokenizer\.json; --ids", "generate", "--model", self.model, "--prompt", "a")
        ids = self.write("ids.json", [1, 2, 3])
        done = self.succeed("generate", "--model", self.model, "--ids", ids, "--max-tokens", 2, "--ignore-eos", "--quiet")
        self.assertRegex(done.stdout, r"^\[\d+, \d+\]\n$")


class BudgetTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.args = ("generate", "--model", MODEL, "--max-tokens", 2, "--ids", self.write("ids.json", [7] * 2000), "--quiet")

    def test_too_small_says_the_smallest_and_that_works(self):
        said = self.fail_with(1, r"expected at least .* of RAM for KV, found 64\.0 KiB \(65536 bytes\) in --kv-host", *self.args, "--kv-host", "64KiB")
        smallest = int(re.search(r"\((\d+) bytes\)", said).group(1))
        self.fail_with(1, rf"\({smallest} bytes\)", *self.args, "--kv-host", smallest - 1)
        self.succeed(*self.args, "--kv-host", smallest)

    def test_disk_places_that_do_not_serve(self):
        small = (*self.args, "--kv-host", "5MiB")
        self.succeed(*small)
        self.fail_with(1, r"No such file", *small, "--kv-disk", self.path("nowhere"))
        self.fail_with(1, r"/proc", *small, "--kv-disk", "/proc/self")
        self.fail_with(1, r"disk", *small, "--kv-disk", self.tmp + ":4096")
        self.fail_with(1, r"2000 tokens|2002 tokens", *small, "--kv-disk", self.tmp + ":2MiB")

    def test_directory_without_permission(self):
        if os.geteuid() == 0:
            self.skipTest("permissions do not bind root")
        os.mkdir(self.path("closed"), 0o500)
        self.fail_with(1, r"closed.*Permission denied", *self.args, "--kv-host", "5MiB", "--kv-disk", self.path("closed"))

    def test_full_disk(self):
        place = self.path("small")
        os.mkdir(place)
        namespace = small_disk(place)
        if namespace is None:
            self.skipTest("this system refuses a mount namespace, where a small file system could be mounted")
        for pattern, disk in ((r"small.*(free|holds|need)", place + ":1GiB"), (r"small.*need", place)):
            self.fail_with(1, pattern, *self.args, "--kv-host", "5MiB", "--kv-disk", disk, within=namespace)


if __name__ == "__main__":
    main()
