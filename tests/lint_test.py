#!/usr/bin/env python3
"""Plants violations in a copy of the rules and sees tools/lint report each, and nothing else."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
HEADER = "// What it is for.\n#pragma once\n"


class LintTest(unittest.TestCase):
    def setUp(self):
        self.tree = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.tree)
        for path in ("docs/MAP.md", "src/CMakeLists.txt"):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                self.plant(path, f.read())

    def plant(self, path, text):
        full = os.path.join(self.tree, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)

    def lint(self):
        """(exit code, lines without the summary)"""
        run = subprocess.run([sys.executable, os.path.join(ROOT, "tools/lint"), self.tree],
                             capture_output=True, text=True, check=False)
        self.assertEqual(run.stderr, "")
        return run.returncode, run.stdout.splitlines()[:-1]

    def assert_clean(self):
        self.assertEqual(self.lint(), (0, []))

    def assert_reports(self, place, *words):
        code, lines = self.lint()
        self.assertEqual((code, len(lines)), (1, 1), lines)
        self.assertTrue(lines[0].startswith(place), lines[0])
        for word in words:
            self.assertIn(word, lines[0])

    def test_rules_alone_are_clean(self):
        self.assert_clean()

    def test_allowed_includes(self):
        self.plant("src/kv/a.h", HEADER + '#include <vector>\n#include "base/bytes.h"\n#include "kv/tiers/t.h"\n')
        self.plant("src/kv/a_test.cc", '#include <gtest/gtest.h>\n#include "engine/engine.h"\n')
        self.plant("src/kv/test_util.h", HEADER + "#include <gtest/gtest.h>\n")
        self.plant("src/apps/main.cc", '#include <CLI/CLI.hpp>\n#include "backend/cpu/x.h"\n#include "nosa/engine.h"\n')
        self.plant("src/backend/cpu/dot.cc", '#include "hwy/highway.h"\n#include "ops/dot.h"\n')
        self.plant("include/nosa/engine.h", HEADER + '#include <string>\n#include "nosa/config.h"\n')
        self.assert_clean()

    def test_include_of_a_higher_room(self):
        self.plant("src/kv/a.cc", '#include "base/bytes.h"\n#include "model/model.h"\n')
        self.assert_reports("src/kv/a.cc:2:", "room kv includes model/model.h", "base io ops tensor")

    def test_backends_do_not_know_each_other(self):
        self.plant("src/backend/cuda/a.cc", '#include "backend/cpu/b.h"\n')
        self.assert_reports("src/backend/cuda/a.cc:1:", "backend/cpu/b.h")

    def test_def_files_are_read_too(self):
        self.plant("src/ops/ops.def", '#include "kv/store.h"\n')
        self.assert_reports("src/ops/ops.def:1:", "kv/store.h")

    def test_path_that_names_no_room(self):
        self.plant("src/kv/a.cc", '#include "store.h"\n')
        self.assert_reports("src/kv/a.cc:1:", "names no room")

    def test_file_outside_every_room(self):
        self.plant("src/misc/a.cc", "\n")
        self.assert_reports("src/misc/a.cc:1:", "in no room")

    def test_doors(self):
        for header, place in (("hwy/highway.h", "src/ops/a.cc"), ("immintrin.h", "src/base/a.cc"),
                              ("dnnl.hpp", "src/model/a.cc"), ("cuda_runtime.h", "src/backend/cpu/a.cc"),
                              ("nccl.h", "src/kv/a.cc"), ("torch/torch.h", "src/eval/a.cc"),
                              ("CLI/CLI.hpp", "src/engine/a.cc"), ("nlohmann/json.hpp", "src/io/other.cc"),
                              ("spdlog/spdlog.h", "src/io/a.cc"), ("liburing.h", "src/kv/a.cc")):
            with self.subTest(header=header):
                self.plant(place, f"#include <{header}>\n")
                self.assert_reports(place + ":1:", header, "only door")
                os.remove(os.path.join(self.tree, place))

    def test_googletest_outside_tests(self):
        self.plant("src/kv/a.cc", "#include <gtest/gtest.h>\n")
        self.assert_reports("src/kv/a.cc:1:", "GoogleTest")

    def test_installed_surface(self):
        self.plant("include/nosa/engine.h", HEADER + '#include "base/status.h"\n')
        self.assert_reports("include/nosa/engine.h:3:", "standard library only")

    def test_surface_from_below(self):
        self.plant("src/kv/a.cc", '#include "nosa/engine.h"\n')
        self.assert_reports("src/kv/a.cc:1:", "nosa/engine.h")

    def test_header_without_comment(self):
        self.plant("src/base/a.h", "#pragma once\n")
        self.assert_reports("src/base/a.h:1:", "comment")

    def test_long_file(self):
        self.plant("src/base/a.cc", "// A table.\n" + "\n" * 999)
        self.assert_clean()
        self.plant("src/base/a.cc", "// A table.\n" + "\n" * 1000)
        self.assert_reports("src/base/a.cc:1:", "1001 lines")
        self.plant("src/base/a.cc", "// Over 1,000 lines: a table that is generated.\n" + "\n" * 1000)
        self.assert_clean()

    def test_notes_for_later(self):
        for note in ("TO" + "DO", "FIX" + "ME"):
            self.plant("src/base/a.cc", f"\n// {note}: later\n")
            self.assert_reports("src/base/a.cc:2:", note)

    def test_machine_paths(self):
        for top in ("work", "root", "home"):
            self.plant("tools/x.sh", f"cd /{top}/me\n")
            self.assert_reports("tools/x.sh:1:", f"/{top}/")
        self.plant("tools/x.sh", "cd build/work/x; cat https://example.org/home/page ../root/x\n")
        self.assert_clean()

    def test_tree_too_large(self):
        self.plant("models/big.bin", "")
        os.truncate(os.path.join(self.tree, "models/big.bin"), 50 * 1000 * 1000)
        self.assert_reports(".:0:", "50000000")

    def test_cmake_links_a_room_too_many(self):
        self.plant("src/CMakeLists.txt", "nosa_room(base)\nnosa_room(tensor ROOMS base)\n"
                   "nosa_room(io ROOMS base tensor)\nnosa_room(text ROOMS base tensor io LIBRARIES x::y)\n")
        self.assert_reports("src/CMakeLists.txt:4:", "text links tensor")

    def test_cmake_links_a_room_too_few(self):
        self.plant("src/CMakeLists.txt", "nosa_room(base)\nnosa_room(io ROOMS base)\nnosa_room(ops ROOMS base)\n"
                   "nosa_room(kv ROOMS base io # ops\n)\n")
        self.assert_reports("src/CMakeLists.txt:4:", "kv does not link ops")

    def test_cmake_optional_rooms_are_links_too(self):
        rooms = "nosa_room(base)\nnosa_room(ops ROOMS base)\nnosa_room(text ROOMS base OPTIONAL_ROOMS ops)\n"
        self.plant("src/CMakeLists.txt", rooms)
        self.assert_reports("src/CMakeLists.txt:3:", "text links ops")
        rooms = "nosa_room(base)\nnosa_room(backend_cuda ROOMS base)\nnosa_room(apps ROOMS base OPTIONAL_ROOMS {})\n"
        self.plant("src/CMakeLists.txt", rooms.format("backend_cuda"))
        self.assert_clean()
        self.plant("src/CMakeLists.txt", rooms.format(""))
        self.assert_reports("src/CMakeLists.txt:3:", "apps does not link backend/cuda")

    def test_only_what_git_knows(self):
        subprocess.run(["git", "init", "-q", self.tree], check=True)
        self.plant(".gitignore", "/build/\n/scratch/\n")
        self.plant("scratch/a.md", "/ho" + "me/me\n")
        self.assert_clean()
        self.plant("docs/a.md", "/ho" + "me/me\n")
        self.assert_reports("docs/a.md:1:")


if __name__ == "__main__":
    unittest.main()
