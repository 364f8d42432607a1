#!/usr/bin/env python3
"""tools/foresight counts what its words say, on made-up selections and on the shipped model."""
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 else None
ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "foresight"

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOOL.parent))
loader = importlib.machinery.SourceFileLoader("foresight", str(TOOL))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("foresight", loader))
loader.exec_module(tool)

BLOCKS = 12
TAIL = BLOCKS - 1


def steps_of(*selections):
    """[steps, BLOCKS]: the selections over and over, with the tail always among them, for WARM steps and as many more."""
    steps = np.zeros((2 * tool.WARM, BLOCKS), bool)
    for step in range(len(steps)):
        steps[step, list(selections[step % len(selections)]) + [TAIL]] = True
    return steps


def lane(selected, foreseen):
    return [(selected, foreseen, np.full(len(selected), TAIL))]


class PlayTest(unittest.TestCase):
    def test_what_stays_is_fetched_once(self):
        same = steps_of([1, 2, 3])
        self.assertEqual(tool.play(lane(same, same), 3, False), (3 * tool.WARM, 0, 0))

    def test_least_recently_used_goes_first(self):
        # Of two slots, 1 and 2 take turns with 3: each is gone when it is asked for again.
        turns = steps_of([1], [2], [3])
        self.assertEqual(tool.play(lane(turns, turns), 2, False), (tool.WARM, tool.WARM, tool.WARM))
        self.assertEqual(tool.play(lane(turns, turns), 3, False), (tool.WARM, 0, 0))

    def test_what_is_foreseen_does_not_miss(self):
        turns = steps_of([1], [2], [3])
        self.assertEqual(tool.play(lane(turns, turns), 2, True), (tool.WARM, 0, tool.WARM))

    def test_what_is_foreseen_wrongly_is_fetched_too(self):
        same, wrong = steps_of([1]), steps_of([4], [5])
        asked, missing, fetched = tool.play(lane(same, wrong), 1, True)
        self.assertEqual((asked, missing), (tool.WARM, tool.WARM))
        self.assertEqual(fetched, 2 * tool.WARM)
        self.assertEqual(tool.play(lane(same, wrong), 3, True), (tool.WARM, 0, 0))

    def test_more_foreseen_than_there_is_room_for_is_left_out(self):
        self.assertEqual(tool.Slots(2).fetch({1, 2, 3}, {1, 2, 3}, 0), 2)


class ToolTest(unittest.TestCase):
    def run_tool(self, *args):
        return subprocess.run([sys.executable, TOOL, "--nosa", PROGRAM, "--model", ROOT / "models" / "nosa-21m", *args],
                              capture_output=True, encoding="utf-8", check=False)

    def test_the_shipped_model(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "foresight.json"
            done = self.run_tool("--text", ROOT / "docs" / "nosa.md", "--out", out, "--tokens", "2560", "--steps", "80")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            report = json.loads(out.read_text(encoding="utf-8"))
        self.assertEqual([layer["layer"] for layer in report["layers"]], list(range(1, 8)))
        for layer in report["layers"]:
            self.assertLessEqual(layer["foreseen"], layer["new"])
        least = report["rows"][0]
        self.assertGreater(least["missing"], 0)
        for before, after in zip(report["rows"], report["rows"][1:]):
            self.assertLessEqual(after["missing"], before["missing"], "more slots, more misses")
        for row in report["rows"]:
            self.assertGreaterEqual(row["fetched_foreseen"], row["missing_foreseen"])

    def test_what_cannot_be_done_is_said(self):
        for code, said, args in ((1, "expected at least 9000 tokens, found ", ("--text", ROOT / "Makefile", "--tokens", "9000")),
                                 (1, "No such file", ("--text", "/nowhere")),
                                 (1, "a folder that is there, found /nowhere/x", ("--text", ROOT / "Makefile", "--out", "/nowhere/x")),
                                 (1, "can't decode byte", ("--text", ROOT / "models" / "nosa-21m" / "goldens.safetensors")),
                                 (2, "--steps: expected more than 64", ("--text", ROOT / "Makefile", "--steps", "64"))):
            done = self.run_tool(*args) if "--out" in args else self.run_tool("--out", "/dev/null", *args)
            self.assertEqual((done.returncode, done.stdout), (code, ""), said)
            self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
