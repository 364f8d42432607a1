#!/usr/bin/env python3
"""The tables of docs/server.md are those that tools/serving_tables prints."""
import os
import subprocess
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


class ServingTablesTest(unittest.TestCase):
    def test_the_page_has_them(self):
        printed = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "serving_tables")], capture_output=True, encoding="utf-8",
                                 check=True).stdout
        with open(os.path.join(ROOT, "docs", "server.md"), encoding="utf-8") as file:
            page = file.read()
        between = page.split("<!-- load:begin -->")[1].split("<!-- load:end -->")[0]
        self.assertEqual(between.strip().splitlines(), printed.strip().splitlines())
        self.assertGreater(len(printed.splitlines()), 10)


if __name__ == "__main__":
    unittest.main()
