"""Runs the program for the tests beside this file: X_test.py PROGRAM MODEL SANITIZERS."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM, MODEL = [os.path.abspath(path) for path in sys.argv[1:3]]
SANITIZED = sys.argv[3:4] not in ([], [""])  # what the program was built with


def run(*args, within=(), **options):
    """The finished process, with .stdout and .stderr as text. `within`: a command that runs the one after it."""
    return subprocess.run([*within, PROGRAM, *map(str, args)], capture_output=True, timeout=240,
                          encoding="utf-8", errors="replace", **options)


def max_rss(*args):
    """Exit code and the most memory the process ever held, in bytes."""
    with open(os.devnull, "wb") as null:
        process = subprocess.Popen([PROGRAM, *map(str, args)], stdout=null, stderr=null)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024


def small_disk(place, size="4m"):
    """The start of a command line that sees a file system of so many bytes at `place`; None where that is refused."""
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    for flags in ("-m", "-rm"):  # as root, or as one's own root
        command = ("unshare", flags, "sh", "-c", script, place)
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


class ProgramTest(unittest.TestCase):
    """Cases run in a directory of their own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.tmp = directory.name

    def path(self, name):
        return os.path.join(self.tmp, name)

    def write(self, name, content):
        """Writes text, or anything else as JSON; returns the path."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return self.path(name)

    def succeed(self, *args):
        done = run(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def answer(self, *args):
        """The JSON of `generate`."""
        return json.loads(self.succeed("generate", "--model", MODEL, "--json", *args).stdout)

    def fail_with(self, code, pattern, *args, within=()):
        """The program says one sentence, `nosa COMMAND: ...` or `nosa COMMAND PART: ...`, that matches; returns it."""
        before = sorted(os.listdir(self.tmp))
        done = run(*args, within=within)
        self.assertEqual(done.returncode, code, f"{args}: {done.stderr}")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, f"{args}: {done.stderr}")
        self.assertRegex(lines[0], rf"^nosa {args[0]}( [a-z]+)?: ")
        self.assertRegex(lines[0], pattern)
        self.assertEqual(done.stdout, "", f"{args}")
        self.assertEqual(sorted(os.listdir(self.tmp)), before, f"{args} left something behind")
        return lines[0]


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
