#!/usr/bin/env python3
"""Tables of documents between markers are those that a tool prints from the JSON in bench/results/."""
import os
import subprocess
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


class TablesTest(unittest.TestCase):
    def check(self, page, name, *command, least=10):
        printed = subprocess.run([sys.executable, os.path.join(ROOT, "tools", command[0]), *command[1:]], capture_output=True,
                                 encoding="utf-8", check=True).stdout
        with open(os.path.join(ROOT, page), encoding="utf-8") as file:
            text = file.read()
        between = text.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]
        self.assertEqual(between.strip().splitlines(), printed.strip().splitlines())
        self.assertGreater(len(printed.splitlines()), least)

    def test_serving(self):
        self.check("docs/server.md", "load", "serving_tables")

    def test_quality(self):
        self.check("docs/quality.md", "quality", "paper_table", "table")

    def test_model_card(self):
        self.check("models/nosa-21m/MODEL_CARD.md", "card", "model_card", "table", least=6)


if __name__ == "__main__":
    unittest.main()
