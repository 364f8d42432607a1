"""What the commands promise when all is well: cli_test.py PROGRAM MODEL SANITIZERS."""
import concurrent.futures
import json
import os
import re
import signal
import struct
import subprocess
import unittest
from array import array

from program import MODEL, PROGRAM, SANITIZED, ProgramTest, main, max_rss, run


def read_safetensors(path):
    """{name: (shape, array)} of a file with f32, i32 and u8 tensors, and its metadata."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = array({"F32": "f", "I32": "i", "U8": "B"}[entry["dtype"]])
        values.frombytes(data[8 + size + begin:8 + size + end])
        tensors[name] = (entry["shape"], values)
    return tensors, metadata


class HelpTest(ProgramTest):
    def test_help_names_every_command_and_every_command_has_help(self):
        text = self.succeed("--help").stdout
        for command in ("demo", "generate", "trace", "inspect"):
            self.assertRegex(text, rf"(?m)^  {command} ")
            self.assertIn("--model", self.succeed(command, "--help").stdout)

    def test_version(self):
        self.assertRegex(self.succeed("--version").stdout, r"^nosa \d+\.\d+\.\d+\n$")


class GpuTest(ProgramTest):
    def test_programs_that_start_together_share_a_gpu(self):
        """What one takes and gives back of the GPU's memory is not charged to another."""
        args = ("generate", "--model", MODEL, "--prompt", "import os\n", "--max-tokens", 8, "--quiet", "--backend", "cuda",
                "--gpu-memory", "4GiB")
        alone = run(*args)
        if re.search("is not built in|no GPU can be used", alone.stderr):
            self.skipTest(alone.stderr.strip())
        self.assertEqual(alone.returncode, 0, alone.stderr)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for done in pool.map(lambda _: run(*args), range(6)):
                self.assertEqual((done.returncode, done.stdout), (0, alone.stdout), done.stderr)


class GenerateTest(ProgramTest):
    def test_text_goes_to_stdout_and_the_summary_to_stderr(self):
        args = ("generate", "--model", MODEL, "--prompt", "import os\n", "--max-tokens", 8)
        loud = self.succeed(*args)
        self.assertIn("fingerprint", loud.stderr)
        quiet = self.succeed(*args, "--quiet")
        self.assertEqual(quiet.stderr, "")
        self.assertEqual(quiet.stdout, loud.stdout)
        self.assertEqual(self.answer("--prompt", "import os\n", "--max-tokens", 8)["text"] + "\n", loud.stdout)

    def test_json_has_the_promised_keys(self):
        answer = self.answer("--prompt", "x = [1, 2]", "--max-tokens", 4, "--ignore-eos")
        self.assertEqual(answer["generated_tokens"], 4)
        self.assertEqual(len(answer["ids"]), 4)
        self.assertGreater(answer["prompt_tokens"], 0)
        self.assertRegex(answer["fingerprint"], "^0x[0-9a-f]{16}$")
        self.assertLessEqual({"load_s", "prefill_s", "decode_s", "prefill_tok_s", "decode_tok_s"}, set(answer["timing"]))
        self.assertLessEqual({"total_bytes", "host_budget_bytes", "host_peak_bytes", "disk_bytes", "device_peak_bytes", "locality",
                              "hit_rate", "blocks_fetched", "bytes_fetched", "recomputed_blocks"}, set(answer["kv"]))

    def test_a_batch_answers_each_as_if_alone(self):
        planned = ("--decode", "planned", "--max-tokens", 6, "--ignore-eos")
        files = [self.write("a.txt", "def f(x):\n"), self.write("b.txt", "import sys\nimport os\n" * 40)]
        batch = self.answer("--prompt-file", files[0], "--prompt-file", files[1], *planned)
        self.assertEqual([item["prompt"] for item in batch], files)
        for file, item in zip(files, batch):
            alone = self.answer("--prompt-file", file, *planned)
            self.assertEqual((item["ids"], item["fingerprint"]), (alone["ids"], alone["fingerprint"]))

    def test_whoever_plans_the_steps_gives_the_same_tokens(self):
        args = ("--prompt", "import os\nimport sys\n" * 200, "--dtype", "f32", "--max-tokens", 70, "--ignore-eos")
        planned, step = (self.answer(*args, "--decode", plan) for plan in ("planned", "step"))
        self.assertEqual(step["ids"], planned["ids"])
        self.assertEqual(step["kv"]["steps"]["seats"], 1)
        self.assertNotIn("steps", planned["kv"])
        quiet = self.succeed("generate", "--model", MODEL, *args, "--decode", "step", "--quiet")
        self.assertEqual(quiet.stdout, planned["text"] + "\n")

    def test_a_recorded_trace_is_what_each_step_read(self):
        out = self.path("steps.safetensors")
        args = ("--prompt", "import os\nimport sys\n" * 300, "--dtype", "f32", "--ignore-eos")
        self.assertEqual(self.answer(*args, "--max-tokens", 40, "--record-trace", out)["ids"],
                         self.answer(*args, "--max-tokens", 40, "--decode", "planned")["ids"])
        answer = self.answer(*args, "--max-tokens", 40)
        tensors, metadata = read_safetensors(out)
        self.assertEqual((metadata["attention"], metadata["dtype"], len(tensors)), ("nosa", "f32", 8))
        first = answer["prompt_tokens"]
        for name, (shape, selected) in tensors.items():
            self.assertRegex(name, r"^layer\.[0-7]\.selected$")
            self.assertEqual(shape[0], 39)  # the first token comes from the prompt
            self.assertEqual(shape[2], (first + 40 + 63) // 64)
            for step in range(39):
                for head in range(shape[1]):
                    begin = (step * shape[1] + head) * shape[2]
                    blocks = [i for i in range(shape[2]) if selected[begin + i]]
                    self.assertEqual(blocks[0], 0)
                    self.assertEqual(blocks[-1], (first + step) // 64)
                    self.assertEqual(len(blocks), min(32, blocks[-1] + 1))

    def test_a_question_is_the_last_line(self):
        file = self.write("a.txt", "one\ntwo")
        self.assertEqual(self.answer("--prompt-file", file, "--question", "three", "--max-tokens", 3)["fingerprint"],
                         self.answer("--prompt", "one\ntwo\nthree", "--max-tokens", 3)["fingerprint"])

    def test_brackets_commas_and_dashes_are_text(self):
        lengths = [self.answer(f"--prompt={text}", "--max-tokens", 0)["prompt_tokens"] for text in ("[a,b]", "-1", "--x", "a b")]
        self.assertTrue(all(lengths), lengths)
        self.assertNotEqual(self.answer("--prompt", "[a,b]", "--max-tokens", 1)["fingerprint"],
                            self.answer("--prompt", "a", "--max-tokens", 1)["fingerprint"])

    def test_seeds_repeat_and_differ(self):
        def draw(seed):
            return self.answer("--prompt", "The", "--max-tokens", 12, "--ignore-eos", "--temperature", 1.5, "--seed", seed)["ids"]
        self.assertEqual(draw(7), draw(7))
        self.assertNotEqual(draw(7), draw(8))

    def test_stop_text_ends_the_answer(self):
        text = self.answer("--prompt", "import os\n", "--max-tokens", 12, "--ignore-eos")["text"]
        stop = text.strip()[3:6]
        cut = self.answer("--prompt", "import os\n", "--max-tokens", 12, "--ignore-eos", "--stop", stop)
        self.assertEqual(cut["text"], text[:text.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_interrupt_keeps_what_was_generated(self):
        process = subprocess.Popen([PROGRAM, "generate", "--model", MODEL, "--prompt", "import os\n", "--max-tokens", "30000",
                                    "--ignore-eos", "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(stderr.decode(), r"^nosa generate: interrupted after \d+ tokens\n$")
        self.assertTrue((first + rest).endswith(b"\n"))

    def test_full_stdout_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("this system has no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "generate", "--model", MODEL, "--prompt", "a", "--max-tokens", "2", "--json"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=240, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"^nosa generate: cannot write to stdout: .*\n$")


class TierTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ids = self.write("ids.json", [(i * 37) % 8000 + 10 for i in range(3000)])
        needs = json.loads(self.succeed("inspect", "--model", MODEL, "--context", 3008, "--json").stdout)["needs"]
        self.kv, self.process = needs["kv"], needs["process"]

    def generate(self, *args):
        return self.answer("--ids", self.ids, "--max-tokens", 8, "--ignore-eos", "--decode", "planned", *args)

    def test_where_kv_lies_changes_nothing_but_speed(self):
        free = self.generate()
        self.assertEqual(free["kv"]["disk_bytes"], 0)
        sufficient = self.generate("--kv-host", self.kv["sufficient_host_bytes"])
        self.assertEqual(sufficient["kv"]["disk_bytes"], 0)
        less = self.generate("--kv-host", self.kv["sufficient_host_bytes"] - 1, "--kv-disk", self.tmp)
        self.assertGreater(less["kv"]["disk_bytes"], 0)
        smallest = self.generate("--kv-host", self.kv["smallest_host_bytes"], "--kv-disk", self.tmp, "--kv-io", "threads")
        self.assertGreater(smallest["kv"]["blocks_fetched"], 0)
        buffered = self.generate("--kv-host", self.kv["smallest_host_bytes"], "--kv-direct", "off", "--kv-policy", "lru")
        for other in (sufficient, less, smallest, buffered):
            self.assertEqual((other["ids"], other["fingerprint"]), (free["ids"], free["fingerprint"]))
            self.assertLessEqual(other["kv"]["host_peak_bytes"], other["kv"]["host_budget_bytes"])

    def test_the_spill_is_said_once(self):
        done = self.succeed("generate", "--model", MODEL, "--ids", self.ids, "--max-tokens", 1, "--kv-host", self.kv["smallest_host_bytes"], "--json")
        self.assertRegex(done.stderr, r"^info: KV takes .* disk in .*(io_uring|threads).*\n$")

    @unittest.skipIf(SANITIZED, "sanitizers keep memory of their own")
    def test_memory_stays_within_budget_and_prediction(self):
        for budget in (self.kv["smallest_host_bytes"], self.kv["sufficient_host_bytes"]):
            code, peak = max_rss("generate", "--model", MODEL, "--ids", self.ids, "--max-tokens", 8, "--kv-host", budget)
            self.assertEqual(code, 0)
            self.assertLessEqual(peak, budget + self.process["total_bytes"])

    @unittest.skipIf(SANITIZED, "sanitizers keep memory of their own")
    def test_steps_stay_within_the_prediction_too(self):
        steps = ("--decode", "step", "--backend", "cpu")
        needs = json.loads(self.succeed("inspect", "--model", MODEL, "--context", 3008, "--json", *steps).stdout)["needs"]
        budget = needs["kv"]["sufficient_host_bytes"]
        code, peak = max_rss("generate", "--model", MODEL, "--ids", self.ids, "--max-tokens", 8, "--kv-host", budget, *steps)
        self.assertEqual(code, 0)
        self.assertLessEqual(peak, budget + needs["process"]["total_bytes"])


class TraceTest(ProgramTest):
    def test_goldens_of_the_independent_implementation(self):
        goldens, _ = read_safetensors(os.path.join(MODEL, "goldens.safetensors"))
        for prompt in ("70", "2500"):
            ids = self.write("ids.json", list(goldens[f"{prompt}.prompt"][1]))
            for attention in ("nosa", "full"):
                out = self.path("out.safetensors")
                self.succeed("trace", "--model", MODEL, "--dtype", "f32", "--attention", attention, "--ids", ids, "--last", 8, "--greedy", 16,
                             "--out", out)
                tensors, metadata = read_safetensors(out)
                self.assertEqual(metadata["attention"], attention)
                shape, logits = tensors["logits"]
                self.assertEqual(shape, [8, 8192])
                worst = max(abs(a - b) for a, b in zip(logits, goldens[f"{prompt}.{attention}.logits_last8"][1]))
                self.assertLess(worst, 2e-3)
                self.assertEqual(tensors["greedy"][1], goldens[f"{prompt}.{attention}.greedy16"][1])
                if attention == "nosa":
                    self.check_selection(tensors, *goldens[f"{prompt}.nosa.selected_last"])

    def check_selection(self, tensors, shape, selected):
        layers, heads, blocks = shape
        for layer in range(layers):
            traced_shape, traced = tensors[f"layer.{layer}.selected"]
            self.assertEqual(traced_shape, [8, heads, blocks])
            size = heads * blocks
            self.assertEqual(traced[-size:], selected[layer * size:(layer + 1) * size])


class InspectTest(ProgramTest):
    def test_model_needs_and_machine(self):
        report = json.loads(self.succeed("inspect", "--model", MODEL, "--json").stdout)
        self.assertEqual(report["model"]["parameters"], 21341648)
        self.assertTrue(report["model"]["importance_weights"])
        kv = report["needs"]["kv"]
        self.assertEqual(report["needs"]["context"], 32768)
        self.assertLess(kv["smallest_host_bytes"], kv["sufficient_host_bytes"])
        self.assertGreaterEqual(kv["disk_bytes"], kv["total_bytes"])
        self.assertGreater(report["machine"]["ram_bytes"], 0)

    def test_people_get_tables_and_a_machine_needs_no_model(self):
        self.assertIn("smallest --kv-host", self.succeed("inspect", "--model", MODEL, "--context", 4096).stdout)
        self.assertIn("RAM", self.succeed("inspect").stdout)


if __name__ == "__main__":
    main()
