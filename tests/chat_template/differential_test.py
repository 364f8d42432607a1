#!/usr/bin/env python3
"""Renders templates with this program and with jinja2, set up as transformers sets it up: texts are the same byte for
byte, and what is an error there is one here.

usage: differential_test.py RENDER_TEMPLATE [COUNT [SEED]]    COUNT random templates beside the written ones
"""
import copy
import datetime
import json
import re
import subprocess
import sys
import warnings

import jinja2
import jinja2.ext
import jinja2.sandbox

import random_templates
import templates

# What only Python has, with the reason: the comparison leaves these out.
BEYOND = (
    re.compile(r" at 0x|<Namespace |Markup\(|<function|<macro"),  # shows addresses or Python's own classes
)
TOO_LARGE = re.compile(r"does not fit 64 bits")  # Python's integers have no end; ours refuse


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = datetime.datetime(2024, 7, 26, 12).strftime
    return env


def expected(env, template, context):
    """The text, or None and the error."""
    try:
        return env.from_string(template).render(**context), ""
    except Exception as error:  # whatever Python raises for a wrong template
        return None, f"{type(error).__name__}: {error}"


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    cases = list(templates.cases()) + list(random_templates.cases(count, seed))
    requests = "".join(json.dumps({"template": t, "context": c}) + "\n" for _, t, c in cases)
    run = subprocess.run([sys.argv[1]], input=requests, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(cases), (len(answers), len(cases))
    env = environment()
    warnings.simplefilter("ignore")  # SyntaxWarning about what random templates index
    wrong = texts = errors = left_out = 0
    for (name, template, context), answer in zip(cases, answers):
        # A copy: jinja2's indent appends to a list it is given.
        text, error = expected(env, template, copy.deepcopy(context))
        if any(p.search(text or "") for p in BEYOND) or TOO_LARGE.search(answer.get("error", "")):
            left_out += 1
        elif answer.get("ok") == text:
            texts += text is not None
            errors += text is None
        else:
            wrong += 1
            if wrong <= 20:
                print(f"{name}: {template[:300]!r}\n  jinja2: {text!r} {error}\n  here:   {answer}")
    print(f"{len(cases)} templates: {texts} the same text, {errors} errors in both, {left_out} left out, {wrong} differ")
    return 1 if wrong or left_out * 20 > len(cases) else 0


if __name__ == "__main__":
    sys.exit(main())
