"""Answers held to random schemas are JSON that a validator accepts: structured_output_test.py PROGRAM MODEL SANITIZERS."""
import json
import random

import jsonschema

from program import MODEL, ProgramTest, main


def random_schema(rng, depth=0):
    kinds = ["integer", "string", "enum", "boolean", "number", "pattern", "date"]
    if depth < 2:
        kinds += ["array", "anyOf", "object"]
    kind = rng.choice(kinds) if depth else "object"
    if kind == "integer":
        low = rng.randint(-150, 150)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 300)}
    if kind == "string":
        return {"type": "string", "minLength": 1, "maxLength": rng.randint(1, 8)}
    if kind == "enum":
        return {"enum": rng.sample(["a", "b\"", 1, None, True, "\u00e9"], 3)}
    if kind == "number":
        return {"type": "number", "exclusiveMinimum": rng.randint(-20, 0), "maximum": rng.randint(1, 20)}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[a-f]{2}-\\d{1,3}$", "^(ab|c)+x?$"]) if rng.random() < 0.5 else "^[A-Z]{1,4}$"}
    if kind == "date":
        return {"type": "string", "format": "date"}
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": rng.randint(0, 1), "maxItems": rng.randint(1, 3)}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth + 1) for _ in range(2)]}
    if kind == "object":
        names = rng.sample(["a", "b", "c d", "e\"f"], rng.randint(1, 3))
        return {"type": "object", "properties": {name: random_schema(rng, depth + 1) for name in names},
                "required": [name for name in names if rng.random() < 0.6], "additionalProperties": False}
    return {"type": kind}


class StructuredOutputTest(ProgramTest):
    def test_random_schemas(self):
        rng = random.Random(7)
        whole = 0
        for seed in range(24):
            schema = random_schema(rng)
            with self.subTest(schema=schema):
                answer = self.answer("--prompt", "x = ", "--max-tokens", 300, "--temperature", 2 * (seed % 3), "--seed", seed,
                                     "--decode", ("planned", "step")[seed % 2],
                                     "--json-schema", self.write("schema.json", schema))
                if answer["finish_reason"] == "length":
                    continue
                whole += 1
                jsonschema.validate(json.loads(answer["text"]), schema, jsonschema.Draft202012Validator,
                                    format_checker=jsonschema.FormatChecker())
        self.assertGreater(whole, 19)

    def test_refuses(self):
        good = ("generate", "--model", MODEL, "--prompt", "a")
        self.fail_with(2, "found both", *good, "--json-schema", "x", "--grammar", "x")
        self.fail_with(1, "at /not: ", *good, "--json-schema", self.write("not.json", {"not": {}}))


if __name__ == "__main__":
    main()
