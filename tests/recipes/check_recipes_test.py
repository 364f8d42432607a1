#!/usr/bin/env python3
"""tools/check_recipes must see a recipe that drifts from the file it shows."""
import os
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/check_recipes")
FILE = "int x = 1;\nint y = 2;\n"


class CheckRecipes(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = self.directory.name
        self.write("tests/recipes/a.cc", FILE)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def recipe(self, block, info="cpp file=tests/recipes/a.cc"):
        self.write("docs/recipes/add-a.md", f"# Add\n\n```sh\nmake\n```\n\n```{info}\n{block}```\n\nDone.\n")

    def run_tool(self, *arguments):
        done = subprocess.run([sys.executable, TOOL, *arguments, self.root], capture_output=True, text=True)
        return done.returncode, done.stdout

    def test_the_same_text_is_clean(self):
        self.recipe(FILE)
        self.assertEqual(self.run_tool(), (0, "check_recipes: 1 recipes, clean\n"))

    def test_other_text_is_seen_with_both_sides(self):
        self.recipe(FILE.replace("2", "3"))
        code, out = self.run_tool()
        self.assertEqual(code, 1)
        self.assertIn('docs/recipes/add-a.md:7: differs from tests/recipes/a.cc: line 2: shows "int y = 3;", '
                      'the file has "int y = 2;"', out)

    def test_missing_and_added_lines_are_seen(self):
        for text in ("int x = 1;\n", FILE + "int z;\n", ""):
            self.recipe(text)
            self.assertEqual(self.run_tool()[0], 1, text)

    def test_a_file_that_is_not_there(self):
        self.recipe(FILE, "cpp file=tests/recipes/b.cc")
        code, out = self.run_tool()
        self.assertEqual(code, 1)
        self.assertIn("there is no file tests/recipes/b.cc", out)

    def test_a_recipe_that_shows_no_file(self):
        self.recipe(FILE, "cpp")
        self.assertEqual(self.run_tool()[0], 1)

    def test_update_writes_the_file_and_nothing_else(self):
        self.recipe("old\n")
        self.assertEqual(self.run_tool("--update")[0], 0)
        with open(os.path.join(self.root, "docs/recipes/add-a.md"), encoding="utf-8") as f:
            self.assertEqual(f.read(), f"# Add\n\n```sh\nmake\n```\n\n```cpp file=tests/recipes/a.cc\n{FILE}```\n\nDone.\n")
        self.assertEqual(self.run_tool()[0], 0)

    def test_wrong_usage(self):
        self.assertEqual(self.run_tool("--frob")[0], 2)


if __name__ == "__main__":
    unittest.main()
