"""Random expressions and templates over a fixed context, for the differential test."""
import random

CONTEXT = {
    "s": "Hello, Wörld\n two", "t": "", "u": " a-b c ", "i": 7, "j": -3, "z": 0, "f": 2.5, "g": -0.0, "n": None,
    "b": True, "l": [3, 1, 2], "e": [], "w": ["b", "A", "c", "a"], "d": {"b": 1, "a": [1, 2], "items": "it"},
    "r": [{"role": "user", "k": 1, "x": {"y": "v"}}, {"role": "tool", "k": 3}, {"role": "User", "k": 2, "x": None}],
}
NAMES = list(CONTEXT) + ["missing"]
LITERALS = ["0", "1", "2", "-1", "3.5", "1e3", "10", "'a'", "'lo'", "''", '"x\\ny"', "' '", "true", "none", "[]", "[1, 'a']", "{}",
            "{'a': 1, 'k': none}", "(1, 2)", "1e16", "0.00001", "'<b>&'", "'12'", "'é'", "1.0"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "**"]
FILTERS = ["trim", "length", "default('x')", "default('x', true)", "join(', ')", "tojson", "tojson(indent=2)", "upper", "lower", "capitalize",
           "title", "replace('a', 'bb')", "first", "last", "list", "string", "int", "float", "abs", "round", "round(1)", "items|list",
           "dictsort", "sort", "sort(reverse=true)", "sort(attribute='k')", "reverse|list", "unique|list", "sum", "min", "max",
           "batch(2)|list", "slice(2)|list", "batch(2, 'q')|list", "indent", "indent(2, true)", "urlencode", "wordcount", "map('upper')|list",
           "map(attribute='k')|list", "map(attribute='role')|join('/')", "selectattr('role', 'equalto', 'user')|list", "selectattr('x')|list",
           "rejectattr('role', 'in', ['tool'])|list", "select('string')|list", "reject('none')|list", "select|list", "groupby('role')|list",
           "join", "count", "map('default', 0)|list", "sum(attribute='k')", "map(attribute='x.y', default='-')|list", "round(0, 'floor')",
           "selectattr('k', 'gt', 1)|map(attribute='k')|list", "format(1)", "trim('ab')", "int(5)", "sort(case_sensitive=true)", "max(attribute='k')"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "iterable",
         "sequence", "sameas none", "eq 1", "equalto('a')", "ne 'a'", "lt 3", "gt 3", "ge(2)", "divisibleby 2", "even", "odd", "in [1, 'a']",
         "callable", "lower", "upper", "not none", "not string"]
METHODS = [".strip()", ".lstrip('aH ')", ".rstrip()", ".split()", ".split('l')", ".split(',', 1)", ".rsplit('l', 1)", ".splitlines()",
           ".startswith('He')", ".startswith(('x', 'H'))", ".endswith('o')", ".replace('l', 'L')", ".replace('', '.', 3)", ".upper()",
           ".lower()", ".title()", ".capitalize()", ".find('l')", ".join(['x', 'y'])", ".isdigit()", ".isalpha()", ".isupper()",
           ".count('l')", ".items()|list", ".keys()|list", ".values()|list", ".get('a')", ".get('q', 5)", ".index('a')", ".append(1)",
           ".a", ".items", "['a']", "['items']", "[0]", "[-1]", "[1:]", "[::-1]", "[:2]", "[-2:9]", "[5:1:-2]", "[9]", ".role", ".x.y",
           "[0].role", "[0]['x']['y']", ".format(1, 2)", ".partition('l')", ".isspace()", ".__class__", ".rfind('o')", "['k']", ".0"]


def atom(rng):
    return rng.choice(NAMES) if rng.random() < 0.6 else rng.choice(LITERALS)


def expression(rng, depth=3):
    kind = rng.random() if depth > 0 else 0
    if kind < 0.15:
        return atom(rng)
    if kind < 0.35:
        return f"{expression(rng, depth - 1)} {rng.choice(BINARY)} {expression(rng, depth - 1)}"
    if kind < 0.55:
        return f"{expression(rng, depth - 2)}|{rng.choice(FILTERS)}"
    if kind < 0.75:
        method = rng.choice(METHODS)
        # jinja2 computes slices of constants beforehand, where some wrong ones pass.
        return (rng.choice(NAMES) if ":" in method else atom(rng)) + method
    if kind < 0.82:
        return f"({expression(rng, depth - 1)}) is {rng.choice(TESTS)}"
    if kind < 0.87:
        return f"({expression(rng, depth - 1)} if {expression(rng, depth - 1)} else {expression(rng, depth - 1)})"
    if kind < 0.90:
        return f"({expression(rng, depth - 1)} if {expression(rng, depth - 1)})"
    if kind < 0.93:
        return f"[{expression(rng, depth - 1)}, {expression(rng, depth - 1)}]"
    if kind < 0.96:
        return f"{rng.choice(['not ', '-', '+'])}{expression(rng, depth - 1)}"
    return f"({expression(rng, depth - 1)})"


def tag(rng, inside):
    dash = [rng.choice(["", "", "-", "+"]) for _ in range(2)]
    return "{%" + dash[0] + " " + inside + " " + dash[1] + "%}"


def text(rng):
    return rng.choice(["", " ", "\n", "  \n", "x", " y ", "\n  ", "z\n", "{# c #}", "{#- c -#}\n", "\t", "{% raw %} {{ }} {% endraw %}\n", "\r\n"])


def statement(rng, depth, in_loop):
    kind = rng.randrange(12)
    body = lambda loop=in_loop: statements(rng, depth - 1, loop)
    short = lambda: expression(rng, 1)
    if depth <= 0 or kind < 3:
        sign = rng.choice(["", "-"])
        return "{{" + sign + " " + short() + " " + rng.choice(["", "-"]) + "}}"
    if kind == 3:
        return tag(rng, "if " + short()) + body() + rng.choice(["", tag(rng, "elif " + short()) + body()]) + tag(rng, "else") + body() + tag(rng, "endif")
    if kind in (4, 5):
        head = rng.choice(["for v in l", "for v in r", "for k, v in d.items()", "for v in w if v != 'A'", "for v in e", "for v in range(i)", "for v in s"])
        extra = "{{ loop.index }}{{ loop.last }}{{ loop.previtem }}{{ loop.cycle(1, 2) }}" if rng.random() < 0.4 else ""
        return tag(rng, head) + extra + body(True) + rng.choice(["", tag(rng, "else") + body()]) + tag(rng, "endfor")
    if kind == 6:  # not names of the context: jinja2 decides when compiling which scope a name read before is of
        return tag(rng, f"set {rng.choice('vkpq')} = {short()}")
    if kind == 7:
        return tag(rng, f"set {rng.choice(['q', 'q | upper'])}") + body(False) + tag(rng, "endset") + "{{ q }}"
    if kind == 8:
        return tag(rng, "macro m(a, c=i)") + "{{ a }}" + body(False) + tag(rng, "endmacro") + "{{ m(" + short() + ") }}{{ m(c=1) }}"
    if kind == 9:
        return tag(rng, "filter " + rng.choice(["upper", "trim", "replace('e', 'E')|length"])) + body(False) + tag(rng, "endfilter")
    if kind == 10 and in_loop:
        return tag(rng, "if " + short()) + tag(rng, rng.choice(["break", "continue"])) + tag(rng, "endif")
    return "{% set ns = namespace(a=1) %}" + tag(rng, "set ns.a = " + short()) + "{{ ns.a }}"


def statements(rng, depth, in_loop=False):
    return "".join(text(rng) + statement(rng, depth, in_loop) for _ in range(rng.randrange(1, 4))) + text(rng)


def cases(count, seed):
    """(name, template, context): half of them one expression, half whole templates."""
    rng = random.Random(seed)
    for i in range(count):
        template = "{{ " + expression(rng) + " }}" if i % 2 == 0 else statements(rng, 2)
        yield f"random {i}", template, CONTEXT
