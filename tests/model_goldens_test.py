#!/usr/bin/env python3
"""tools/model_goldens agrees with the goldens of the shipped model, sees each kind of damage to them, and keeps the
promises of docs/nosa.md on a model of random weights."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "model_goldens"
MODEL = ROOT / "models" / "nosa-21m"
SHORT = "70"

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOOL.parent))
loader = importlib.machinery.SourceFileLoader("model_goldens", str(TOOL))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("model_goldens", loader))
loader.exec_module(tool)


def run_tool(*arguments):
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


class ShippedModelTest(unittest.TestCase):
    """A copy of the shipped model, with the short prompt's goldens only."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.model = pathlib.Path(directory.name)
        for name in ("config.json", "model.safetensors"):
            os.symlink(MODEL / name, self.model / name)
        self.file = self.model / "goldens.safetensors"
        self.goldens = {name: values.copy() for name, values in tool.read_tensors(MODEL / "goldens.safetensors").items()
                        if name.startswith(SHORT + ".")}

    def test_the_shipped_goldens_agree(self):
        code, out, err = run_tool("check", "--model", MODEL, "--prompts", SHORT)
        self.assertEqual((code, err), (0, ""), out)
        self.assertEqual([line.split(":")[:2] for line in out.splitlines()], [["70 nosa", " agrees"], ["70 full", " agrees"]])

    def test_damage_fails(self):
        self.goldens["70.full.logits_last8"][7, 4000] += 0.01
        tool.write_tensors(self.file, self.goldens)
        code, out, err = run_tool("check", "--model", self.model)
        self.assertEqual((code, err), (1, ""), out)
        self.assertIn("70 nosa: agrees", out)
        self.assertRegex(out, r"70 full: DISAGREES: logits_last8 differs by 1.0e-02, more than 0.002, greedy16 agrees")

    def test_each_kind_of_damage_is_seen(self):
        run = tool.Run(tool.Model(self.model), "nosa", self.goldens["70.prompt"], self.goldens["70.nosa.greedy16"])
        expected = {key: self.goldens["70.nosa." + key] for key in run.tensors}
        self.assertEqual(tool.compare(run, expected)[1:], ([], True))
        for key, place, value, lines in (("logits_last8", (0, 0), 30, 0), ("logits_last8", (3, 17), np.nan, 0),
                                         ("ppl_nll", 0, expected["ppl_nll"][0] + np.float32(1e-3), 0),
                                         ("greedy16", 0, 3, 1), ("greedy16", 15, 8192, 1), ("selected_last", (5, 1, 0), 0, 1)):
            with self.subTest(key=key, place=place):
                damaged = dict(expected, **{key: expected[key].copy()})
                damaged[key][place] = value
                said, found, agrees = tool.compare(run, damaged)
                self.assertFalse(agrees)
                self.assertEqual(len(found), lines)
                self.assertEqual(said.count("more than") + said.count("16 differs") + said.count("last differs"), 1, said)

    def test_near_ties_are_reported_and_forgiven(self):
        run = tool.Run(tool.Model(self.model), "nosa", self.goldens["70.prompt"], self.goldens["70.nosa.greedy16"])
        expected = dict(run.tensors, greedy16=run.tensors["greedy16"].copy())
        expected["greedy16"][4] = second = int(np.argsort(run.steps[4])[-2])
        run.steps[4][second] = run.steps[4].max() - 1e-3
        _, lines, agrees = tool.compare(run, expected)
        self.assertTrue(agrees)
        self.assertRegex(lines[0], f"^greedy token 4: .* where the file has {second}, logits 1.0e-03 apart, a near tie$")
        run.steps[4][second] -= 2e-3
        self.assertFalse(tool.compare(run, expected)[2])

        # A choice among three blocks, of which the file took another one.
        run.tensors["selected_last"] = np.array([[[1, 0, 1]]], np.uint8)
        expected = dict(run.tensors, selected_last=np.array([[[1, 1, 0]]], np.uint8))
        for gap, forgiven in ((1e-7, True), (1e-3, False)):
            run.gaps = [gap]
            _, lines, agrees = tool.compare(run, expected)
            self.assertEqual(agrees, forgiven)
            self.assertIn(f"layer 0 KV head 0: blocks [2] where the file has [1], gap {gap:.1e}", lines[0])

    def test_a_missing_tensor_fails(self):
        del self.goldens["70.nosa.ppl_nll"]
        tool.write_tensors(self.file, self.goldens)
        code, out, _ = run_tool("check", "--model", self.model)
        self.assertEqual(code, 1)
        self.assertIn("70 nosa: DISAGREES: the file has", out)

    def test_what_is_made_has_the_same_form_and_agrees(self):
        self.goldens["70.answer"] = self.goldens["70.nosa.greedy16"][:4]
        prompts = self.model / "prompts.safetensors"
        tool.write_tensors(prompts, self.goldens)
        code, out, err = run_tool("make", "--model", self.model, "--prompts", prompts, "--out", self.file)
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("70 nosa: the greedy tokens begin with the answer", out)
        made = tool.read_tensors(self.file)
        self.assertEqual({name: (values.dtype, values.shape) for name, values in made.items()},
                         {name: (values.dtype, values.shape) for name, values in self.goldens.items()})
        for name, values in self.goldens.items():
            np.testing.assert_allclose(made[name], values, atol=tool.LOGITS, rtol=0, err_msg=name)

    def test_files_that_are_not_goldens(self):
        for content in (None, b"", b"\xff" * 100):
            if content is not None:
                self.file.write_bytes(content)
            code, out, err = run_tool("check", "--model", self.model)
            self.assertEqual((code, out), (2, ""))
            self.assertRegex(err, r"^model_goldens: .*goldens.safetensors: .*\n$")
        self.assertEqual(run_tool("check", "--model", MODEL, "--prompts", "71")[0], 2)


class RandomModelTest(unittest.TestCase):
    """Two layers, blocks of 8 tokens, of which 6 are read."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.config = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 2,
                       "head_dim": 8, "vocab_size": 50,
                       "sparse_config": {"block_size": 8, "kernel_size": 4, "kernel_stride": 2, "init_blocks": 1,
                                         "window_size": 8, "topk": 6, "query_topk": 2}}
        shapes = {"model.embed_tokens": [50, 24], "model.norm": [24], "lm_head": [50, 24]}
        for layer in ("model.layers.0.", "model.layers.1."):
            for name, shape in (("input_layernorm", [24]), ("post_attention_layernorm", [24]), ("mlp.gate_proj", [20, 24]),
                                ("mlp.up_proj", [20, 24]), ("mlp.down_proj", [24, 20]), ("self_attn.q_proj", [48, 24]),
                                ("self_attn.k_proj", [16, 24]), ("self_attn.v_proj", [16, 24]), ("self_attn.o_proj", [24, 48]),
                                ("self_attn.delta", [2, 16]), ("self_attn.A", [2])):
                shapes[layer + name] = shape
        random = np.random.default_rng(5)
        self.weights = {name + ".weight" * (not name.endswith(".A")): random.standard_normal(shape, np.float32) / np.float32(2)
                        for name, shape in shapes.items()}
        self.ids = random.integers(0, 50, 131)

    def model(self):
        (self.directory / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
        tool.write_tensors(self.directory / "model.safetensors", self.weights)
        return tool.Model(self.directory)

    def hidden(self, mode, cuts):
        """Hidden states of all tokens, and what the last token of each part selected."""
        sequence, parts, selected, at = tool.Sequence(self.model(), mode), [], [], 0
        for cut in cuts:
            parts.append(sequence.append(self.ids[at:at + cut]))
            selected.append(sequence.selected)
            at += cut
        self.assertEqual(at, len(self.ids))
        return np.concatenate(parts), selected

    def test_cutting_a_sequence_changes_nothing(self):
        for mode in tool.MODES:
            whole, last = self.hidden(mode, [131])
            cut, selected = self.hidden(mode, [1, 7, 33] + [1] * 90)
            np.testing.assert_allclose(cut, whole, atol=1e-3, rtol=0)
            np.testing.assert_array_equal(selected[-1], last[-1])

    def test_selections_have_the_forced_blocks_and_their_number(self):
        for at, layers in enumerate(self.hidden("nosa", [1] * 131)[1]):
            for chosen in (chosen for layer in layers for chosen in layer):
                self.assertEqual(len(chosen), at // 8 + 1)
                self.assertEqual(chosen.sum(), min(6, len(chosen)))
                self.assertTrue(chosen[0] and chosen[-1] and chosen[max(0, len(chosen) - 2)])

    def test_modes_meet_where_they_should(self):
        full, nosa = self.hidden("full", [131])[0], self.hidden("nosa", [131])[0]
        self.config["sparse_config"]["topk"] = 17
        with_bias = self.hidden("nosa", [131])[0]
        np.testing.assert_allclose(nosa[:48], with_bias[:48], atol=1e-4, rtol=0)
        self.assertGreater(np.abs(nosa - with_bias).max(), 0.01)
        self.assertGreater(np.abs(full - with_bias).max(), 0.01)
        for layer in range(2):
            self.weights[f"model.layers.{layer}.self_attn.A"][:] = 0
        np.testing.assert_allclose(self.hidden("nosa", [131])[0], full, atol=1e-4, rtol=0)

    def test_untied_and_tied_embeddings(self):
        each = np.eye(24, dtype=np.float32)
        np.testing.assert_array_equal(self.model().logits(each), self.weights["lm_head.weight"].T)
        self.config["tie_word_embeddings"] = True
        np.testing.assert_array_equal(self.model().logits(each), self.weights["model.embed_tokens.weight"].T)

    def test_models_that_it_cannot_compute(self):
        for field, value in (("attention_bias", True), ("hidden_act", "gelu"), ("rope_scaling", {"rope_type": "llama3"}),
                             ("sparse_config", {"topk": 4}), ("num_hidden_layers", None)):
            with self.subTest(field=field):
                kept = dict(self.config)
                self.config[field] = value
                if value is None:
                    del self.config[field]
                with self.assertRaisesRegex(tool.Wrong, field):
                    self.model()
                self.config = kept


if __name__ == "__main__":
    unittest.main()
