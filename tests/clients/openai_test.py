"""OpenAI's own Python client against `nosa serve`: openai_test.py PROGRAM MODEL."""
import asyncio
import json
import os
import sys
import tempfile
import time
import unittest

import openai

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
from server import Server, TOOL_TEMPLATE, main  # noqa: E402

KEY = "a-key-for-the-tests"
MODEL_NAME = "nosa-21m"
PROMPT = "def read_file(path):"
SCHEMA = {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 5}, "name": {"enum": ["a", "b"]}},
          "required": ["count", "name"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": SCHEMA}}]


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        keys, template = (os.path.join(directory.name, name) for name in ("keys", "template.jinja"))
        with open(keys, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(f"{KEY} name=tests\nanother-key-with-limits name=limited requests-per-minute=1\n")
        with open(template, "w", encoding="utf-8") as file:
            file.write(TOOL_TEMPLATE)
        cls.server = Server("--context", 4096, "--api-key-file", keys, "--chat-template", template, "--quiet")
        cls.addClassCleanup(cls.server.stop)
        cls.client = cls.make(KEY)
        cls.addClassCleanup(cls.client.close)

    @classmethod
    def make(cls, key, **options):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{cls.server.port}/v1", api_key=key, max_retries=0, **options)

    def chat(self, content="def f(x):", **fields):
        fields = {"max_tokens": 12, "temperature": 0, **fields}
        return self.client.chat.completions.create(model=MODEL_NAME, messages=[{"role": "user", "content": content}], **fields)

    def complete(self, prompt=PROMPT, **fields):
        return self.client.completions.create(model=MODEL_NAME, prompt=prompt, **{"max_tokens": 12, "temperature": 0, **fields})

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL_NAME])
        self.assertEqual(self.client.models.retrieve(MODEL_NAME).object, "model")

    def test_chat(self):
        answer = self.chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 12)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 12)
        self.assertGreaterEqual(answer.usage.prompt_tokens_details.cached_tokens, 0)
        # What came back can be sent again, as clients do.
        again = self.client.chat.completions.create(
            model=MODEL_NAME, max_tokens=2, messages=[{"role": "user", "content": "a"}, answer.choices[0].message.model_dump(),
                                                      {"role": "user", "content": [{"type": "text", "text": "b"}]}])
        self.assertEqual(again.usage.completion_tokens, 2)

    def test_streams(self):
        whole = self.chat().choices[0].message.content
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole)
        self.assertEqual(chunks[-1].usage.completion_tokens, 12)
        self.assertEqual({c.id for c in chunks}, {chunks[0].id})
        self.assertEqual([c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason], ["length"])
        whole = self.complete().choices[0].text
        self.assertEqual("".join(c.choices[0].text for c in self.complete(stream=True)), whole)

    def test_two_choices_in_one_stream(self):
        texts = ["", ""]
        for chunk in self.chat(n=2, temperature=1.2, seed=4, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        whole = self.chat(n=2, temperature=1.2, seed=4)
        self.assertEqual([c.message.content for c in whole.choices], texts)
        self.assertNotEqual(*texts)

    def test_completions(self):
        one = self.complete()
        self.assertEqual(one.object, "text_completion")
        many = self.complete([PROMPT, "import "], n=2)
        self.assertEqual([c.index for c in many.choices], [0, 1, 2, 3])
        self.assertEqual(many.choices[0].text, one.choices[0].text)
        echoed = self.complete(echo=True, max_tokens=3)
        self.assertTrue(echoed.choices[0].text.startswith(PROMPT))

    def test_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=4, max_tokens=5).choices[0]
        self.assertEqual(len(answer.logprobs.content), 5)
        for token in answer.logprobs.content:
            self.assertEqual(len(token.top_logprobs), 4)
            self.assertEqual(token.top_logprobs[0].token, token.token)
            self.assertLessEqual(token.logprob, 0)
        streamed = [t for c in self.chat(logprobs=True, top_logprobs=4, max_tokens=5, stream=True) if c.choices[0].logprobs
                    for t in c.choices[0].logprobs.content]
        self.assertEqual(streamed, answer.logprobs.content)
        text = self.complete(logprobs=2, echo=True, max_tokens=5).choices[0].logprobs
        self.assertIsNone(text.token_logprobs[0])
        self.assertEqual(len(text.tokens), len(text.top_logprobs))
        # The model's own probabilities, whatever is drawn and however.
        hot = self.complete(logprobs=2, echo=True, max_tokens=5, temperature=2, seed=1, logit_bias={"7": 5}).choices[0].logprobs
        n = len(text.tokens) - 5
        self.assertEqual(hot.token_logprobs[:n], text.token_logprobs[:n])
        self.assertEqual(hot.top_logprobs[1:n], text.top_logprobs[1:n])

    def test_stop(self):
        whole = self.complete(max_tokens=40).choices[0].text
        word = whole.split()[2]
        cut = self.complete(max_tokens=40, stop=[word]).choices[0]
        self.assertEqual((cut.text, cut.finish_reason), (whole[:whole.index(word)], "stop"))
        self.assertEqual("".join(c.choices[0].text for c in self.complete(max_tokens=40, stop=word, stream=True)), cut.text)

    def test_seed(self):
        texts = [self.chat(temperature=1.5, seed=s).choices[0].message.content for s in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_penalties_and_bias(self):
        self.assertEqual(self.complete("a", max_tokens=3, logit_bias={"50": 100}, logprobs=0).choices[0].logprobs.tokens[0],
                         self.complete("b", max_tokens=3, logit_bias={"50": 100}, logprobs=0).choices[0].logprobs.tokens[2])
        self.assertNotEqual(self.complete("a a a a", max_tokens=40).choices[0].text,
                            self.complete("a a a a", max_tokens=40, presence_penalty=2, frequency_penalty=2).choices[0].text)

    def test_tools(self):
        answer = self.chat("add", tools=TOOLS, tool_choice="required", max_tokens=120).choices[0]
        self.assertEqual(answer.finish_reason, "tool_calls")
        call = answer.message.tool_calls[0]
        self.assertEqual((call.type, call.function.name), ("function", "add"))
        arguments = json.loads(call.function.arguments)
        self.assertIn(arguments["count"], range(1, 6))
        # The whole round, as an agent goes it.
        after = self.client.chat.completions.create(model=MODEL_NAME, max_tokens=4, tools=TOOLS, messages=[
            {"role": "user", "content": "add"}, answer.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "3"}])
        self.assertEqual(after.usage.completion_tokens, 4)
        with self.client.chat.completions.stream(model=MODEL_NAME, messages=[{"role": "user", "content": "add"}], tools=TOOLS,
                                                 tool_choice={"type": "function", "function": {"name": "add"}}, max_tokens=120,
                                                 temperature=0) as stream:
            deltas = [event.arguments_delta for event in stream if event.type == "tool_calls.function.arguments.delta"]
            final = stream.get_final_completion()
        streamed = final.choices[0].message.tool_calls[0].function
        self.assertEqual((streamed.name, "".join(deltas)), ("add", streamed.arguments))
        self.assertGreater(len([delta for delta in deltas if delta]), 1)
        self.assertEqual(final.choices[0].finish_reason, "tool_calls")
        self.assertEqual(streamed.arguments, self.chat("add", tools=TOOLS, tool_choice="required", max_tokens=120).choices[0]
                         .message.tool_calls[0].function.arguments)
        self.assertEqual(self.chat("a", tools=TOOLS, tool_choice="none").choices[0].message.tool_calls, None)

    def test_json_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA, "strict": True}}
        for temperature in (0, 2):
            answer = self.chat("a", response_format=form, max_tokens=120, temperature=temperature).choices[0]
            self.assertEqual(answer.finish_reason, "stop")
            self.assertEqual(sorted(json.loads(answer.message.content)), ["count", "name"])
        text = "".join(c.choices[0].delta.content or "" for c in self.chat("a", response_format=form, max_tokens=120, stream=True))
        json.loads(text)
        self.assertTrue(self.chat("a", response_format={"type": "json_object"}).choices[0].message.content.startswith("{"))

    def test_errors(self):
        for kind, status, call in (
                (openai.BadRequestError, 400, lambda: self.chat(temperature=5)),
                (openai.BadRequestError, 400, lambda: self.chat(extra_body={"nonsense": 1})),
                (openai.BadRequestError, 400, lambda: self.complete([1] * 5000)),
                (openai.BadRequestError, 400, lambda: self.chat(tool_choice="auto")),
                (openai.NotFoundError, 404, lambda: self.client.completions.create(model="gpt", prompt="a")),
                (openai.NotFoundError, 404, lambda: self.client.embeddings.create(model=MODEL_NAME, input="a")),
                (openai.AuthenticationError, 401, lambda: self.make("wrong").models.list()),
        ):
            with self.assertRaises(kind) as raised:
                call()
            self.assertEqual(raised.exception.status_code, status)
            self.assertIsInstance(raised.exception.body, dict)
            self.assertIn("message", raised.exception.body)
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat(temperature=5)
        self.assertEqual((raised.exception.param, raised.exception.code), ("temperature", "decimal_above_max_value"))

    def test_rate_limit(self):
        limited = self.make("another-key-with-limits")
        limited.completions.create(model=MODEL_NAME, prompt="a", max_tokens=1)
        with self.assertRaises(openai.RateLimitError) as raised:
            limited.completions.create(model=MODEL_NAME, prompt="a", max_tokens=1)
        self.assertGreater(int(raised.exception.response.headers["Retry-After"]), 0)

    def at_work(self):
        text = self.server.ask("GET", "/metrics", Authorization=f"Bearer {KEY}")[2].decode()
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("nosa_requests{"))

    def test_timeout(self):
        impatient = self.make(KEY, timeout=0.3)
        with self.assertRaises(openai.APITimeoutError):
            impatient.completions.create(model=MODEL_NAME, prompt="a", max_tokens=4000, extra_body={"ignore_eos": True})
        self.server.wait_for("it is cancelled", lambda: self.at_work() == 0)

    def test_abort(self):
        stream = self.chat(max_tokens=3900, stream=True, extra_body={"ignore_eos": True})
        for _, _ in zip(range(5), stream):
            pass
        self.assertEqual(self.at_work(), 1)
        stream.close()
        begin = time.monotonic()
        self.server.wait_for("it is cancelled", lambda: self.at_work() == 0)
        self.assertLess(time.monotonic() - begin, 10)

    def test_many_at_once(self):
        async def ask():
            async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key=KEY, max_retries=0) as client:
                return await asyncio.gather(*(client.completions.create(model=MODEL_NAME, prompt=f"def f{i % 8}(", max_tokens=8,
                                                                        temperature=0) for i in range(32)))

        texts = [answer.choices[0].text for answer in asyncio.run(ask())]
        alone = [self.complete(f"def f{i}(", max_tokens=8).choices[0].text for i in range(8)]
        self.assertEqual(texts, alone * 4)


if __name__ == "__main__":
    main()
