#!/usr/bin/env python3
"""Draws pictures and prints tables of a made-up report, and reads them back: nothing overlaps, nothing is left out."""
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SVG = "{http://www.w3.org/2000/svg}"


def row(mode="nosa", context=65536, batch=8, **fields):
    """One row as `nosa bench decode` writes it, with round numbers that no machine gave."""
    step = 10.0 + batch / 8
    made = {"mode": mode, "attention": "nosa", "context": context, "batch": batch, "slack": 1.5, "slots": 96, "locality": 0.9,
            "trace": "uniform", "step_ms": {"median": step, "min": step - 1, "max": step + 1}, "tokens_per_s": batch * 1e3 / step,
            "hit_rate": 0.9, "measured_locality": 0.9, "missing_per_lane": 4.0, "pcie_bytes_per_step": 1e8,
            "hbm_bytes_per_step": 1e10, "pcie_gb_s": 40.0, "hbm_gb_s": 2000.0, "roofline_ms": step / 2, "roofline_share": 0.5,
            "transfer_ms_alone": 3.0, "transfer_hidden": 0.8, "device_bytes": 2**34, "host_bytes": 2**36,
            "fingerprint": "0123456789abcdef"}
    made.update(fields)
    return made


def decode(rows):
    return {"benchmark": "decode", "backend": "made up", "device": "Some GPU 9000, 10 multiprocessors, 1 GiB",
            "model": "random:8b", "gpu_memory_bytes": 2**36, "pcie_gb_s": 50.0, "hbm_gb_s": 3000.0, "rows": rows}


SWEEPS = {
    "a": decode([row(context=context, batch=batch) for context in (16384, 32768, 65536) for batch in (1, 2, 4, 8, 16, 42, 48, 50)]),
    "b": decode([row(mode=mode, context=context, batch=batch)
                 for mode, batch in (("inline", 40), ("infllm2", 40), ("full", 4), ("resident", 2), ("dry", 64))
                 for context in (16384, 65536)] +
                [row("inline", 131072, 8), row("full", 131072, 1, slack=None, trace=None, hit_rate=None, transfer_hidden=None)]),
    "c": decode([row(batch=8, slack=slack, trace=trace, hit_rate=rate)
                 for trace in ("uniform", "lru-stack", "traces/long.json") for slack, rate in ((1.0, 0.91), (1.25, 0.95), (2.0, 0.99))] +
                [row(context=8192)]),  # alone: on no line
}


class Picture:
    """What is read back of an SVG file."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.root = ElementTree.fromstring(self.source)
        self.texts = [element.text for element in self.root.iter(SVG + "text")]
        self.paths = list(self.root.iter(SVG + "path"))
        self.markers = list(self.root.iter(SVG + "polygon"))

    def dashed(self):
        return [path for path in self.paths if path.get("stroke-dasharray")]

    def boxes(self):
        """(left, top, right, bottom, text) of every text, by the usual width of a sans-serif character."""
        for element in self.root.iter(SVG + "text"):
            size, x, y = (float(element.get(key)) for key in ("font-size", "x", "y"))
            width = len(element.text) * size * 0.55
            left = x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor")]
            yield left, y - 0.8 * size, left + width, y + 0.2 * size, element.text


class PlotsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.results, self.pictures = os.path.join(directory.name, "results"), os.path.join(directory.name, "pictures")
        os.mkdir(self.results)

    def write(self, reports):
        for name, report in reports.items():
            with open(os.path.join(self.results, name + ".json"), "w", encoding="utf-8") as file:
                json.dump(report, file)

    def tool(self, name, *args):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", name), *args], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def draw(self, reports):
        """{"decode-batch": Picture, ...} and what the tool said."""
        self.write(reports)
        said = self.tool("performance_plots", self.results, self.pictures)
        files = os.listdir(self.pictures) if os.path.isdir(self.pictures) else []
        pictures = {}
        for file in files:
            plot, rest = re.fullmatch(r"(decode-[a-z]+)-(.*)\.svg", file).groups()
            self.assertEqual(rest, "random-8b-some-gpu-9000-1-gib")
            pictures[plot] = Picture(os.path.join(self.pictures, file))
        return pictures, said

    def test_every_sweep_has_its_picture(self):
        pictures, said = self.draw(SWEEPS)
        self.assertEqual(sorted(pictures), ["decode-batch", "decode-context", "decode-slack"])
        self.assertEqual(len(said.splitlines()), 3)

    def test_batch(self):
        picture = self.draw(SWEEPS)[0]["decode-batch"]
        for text in ("tokens a second", "sequences in the batch", "16K tokens", "32K tokens", "64K tokens", "roofline",
                     "random:8b on Some GPU 9000, 1 GiB", "1.5 slots for each block that a step reads, trace uniform"):
            self.assertIn(text, picture.texts)
        self.assertEqual(len(picture.dashed()), 3 + 1)  # and the legend's
        self.assertEqual(len(picture.markers), 3 * 8 + 3)
        # Throughput of the limit is twice what was made up as measured, so its line ends higher.
        ends = {bool(path.get("stroke-dasharray")): float(path.get("d").rsplit(",", 1)[1]) for path in picture.paths[-6:]}
        self.assertLess(ends[True], ends[False])

    def test_context(self):
        picture = self.draw(SWEEPS)[0]["decode-context"]
        for text in ("full attention", "nosa", "nosa, all on the GPU", "infllm2", "128K", "each at the batch and slack that are fastest"):
            self.assertIn(text, picture.texts)
        self.assertNotIn("dry", picture.source)
        self.assertEqual(picture.dashed(), [])
        self.assertEqual(len(picture.markers), 2 + 3 + 2 + 3 + 2 + 5)
        self.assertIn("batch 50, context 64K", picture.source)  # not the slower batches

    def test_slack(self):
        picture = self.draw(SWEEPS)[0]["decode-slack"]
        for text in ("hit rate", "tokens a second", "uniform", "lru-stack", "long.json", "1.25", "context 64K, batch 8"):
            self.assertIn(text, picture.texts)
        self.assertEqual(len(picture.markers), 2 * (9 + 1) + 3)  # one place is of another sweep

    def test_texts_lie_inside_and_apart(self):
        for name, picture in self.draw(SWEEPS)[0].items():
            _, _, width, height = map(float, picture.root.get("viewBox").split())
            boxes = list(picture.boxes())
            for left, top, right, bottom, text in boxes:
                self.assertTrue(0 <= left and right <= width and 0 <= top and bottom <= height, (name, text))
            for a, b in itertools.combinations(boxes, 2):
                apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
                self.assertTrue(apart, f"{name}: \"{a[4]}\" and \"{b[4]}\" overlap")

    def test_lines_lie_inside(self):
        for name, picture in self.draw(SWEEPS)[0].items():
            _, _, width, height = map(float, picture.root.get("viewBox").split())
            for marker in picture.markers:
                for corner in marker.get("points").split():
                    x, y = map(float, corner.split(","))
                    self.assertTrue(0 < x < width and 0 < y < height, name)

    def test_dark_pages_have_colors_of_their_own(self):
        for picture in self.draw(SWEEPS)[0].values():
            rules = picture.root.find(SVG + "style").text
            self.assertTrue(rules.startswith("@media (prefers-color-scheme: dark){"))
            kinds = {element.get("class") for element in picture.root.iter() if element.get("fill") or element.get("stroke")}
            for kind in kinds:
                self.assertIn(f".{kind}{{", rules)

    def test_what_was_not_swept_is_said(self):
        pictures, said = self.draw({"a": decode([row(), row(context=131072)])})
        self.assertEqual(sorted(pictures), ["decode-context"])
        self.assertIn("decode-batch: no sweep of random:8b on Some GPU 9000", said)
        self.assertIn("decode-slack: no sweep", said)

    def test_reports_of_a_cpu_are_left_alone(self):
        pictures, said = self.draw({"cpu": {"benchmark": "decode", "model": "m", "rows": [{"context": 4096}]}})
        self.assertEqual(pictures, {})
        self.assertIn("no decode report of a GPU", said)

    def test_tables(self):
        self.write(SWEEPS)
        self.write({"t": {"benchmark": "transfer", "device": "Some GPU 9000, 10 multiprocessors", "left_out": ["x is left out: y"],
                          "rows": [{"group": "Gather", "what": "gather", "bytes": 33024, "workers": 8, "gb_s": 12.5, "min": 12.0,
                                    "max": 13.0, "run_ms": 1.0},
                                   {"group": "Launches", "what": "in a graph", "bytes": 0, "workers": 0, "us": 1.5, "min": 1.0,
                                    "max": 2.0, "run_ms": 1.0}]}})
        text = self.tool("performance_tables", self.results)
        self.assertIn("### Decode of random:8b on Some GPU 9000", text)
        self.assertIn("| full | 128K | 1 | - | - | 10.12 (9.12 to 11.12) | 99 | - | 40.0 |", text)
        self.assertIn("| Gather | gather | 32.25 KiB | 8 | 12.5 (12.0 to 13.0) | GB/s |", text)
        self.assertIn("| Launches | in a graph | - | - | 1.5 (1.0 to 2.0) | us |", text)
        self.assertIn("x is left out: y", text)
        decodes = sum(len(report["rows"]) for report in SWEEPS.values())
        self.assertEqual(sum(line.startswith("|") for line in text.splitlines()), decodes + 2 + 2 + 2)

    def test_tables_of_the_repository(self):
        """docs/performance.md holds what the tool prints."""
        with open(os.path.join(ROOT, "docs", "performance.md"), encoding="utf-8") as file:
            page = file.read()
        printed = re.search(r"<!-- tables:begin -->\n(.*)<!-- tables:end -->", page, re.S)[1]
        self.assertEqual(self.tool("performance_tables").strip(), printed.strip())


if __name__ == "__main__":
    unittest.main()
