"""Every endpoint as its users meet it: api_test.py PROGRAM MODEL SANITIZERS."""
import json
import os
import re
import subprocess
import tempfile

from server import MODEL, PROGRAM, Server, ServerTest, TOOL_TEMPLATE, main

PROMPT = "def read_file(path):"


class EndpointTest(ServerTest):
    def test_models(self):
        status, _, models = self.server.ask("GET", "/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual(models["object"], "list")
        self.assertEqual([model["id"] for model in models["data"]], ["nosa-21m"])
        self.assertEqual(self.server.ask("GET", "/v1/models/nosa-21m")[2], models["data"][0])
        status, _, error = self.server.ask("GET", "/v1/models/gpt")
        self.assertEqual((status, error["error"]["code"]), (404, "model_not_found"))
        status, headers, body = self.server.ask("HEAD", "/v1/models")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 0)

    def test_health(self):
        for path in ("/health", "/health/live", "/health/ready"):
            self.assertEqual(self.server.ask("GET", path)[0], 200)

    def test_metrics(self):
        self.server.complete(prompt=PROMPT, max_tokens=3)
        # A reply is counted once it has gone out, which its reader may be ahead of.
        self.server.wait_for("it is counted", lambda: any('completions",code="200"' in name for name in self.server.metrics()))
        text = self.server.ask("GET", "/metrics")[2].decode()
        types, samples = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.assertNotIn(name, types)
                types[name] = kind
            elif not line.startswith("# HELP "):
                match = re.fullmatch(r'([a-z_]+)(\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? (\S+)', line)
                self.assertTrue(match, line)
                self.assertNotIn(match[1] + (match[2] or ""), samples)
                samples[match[1] + (match[2] or "")] = float(match[3])
                family = match[1] if match[1] in types else re.sub("_(bucket|sum|count)$", "", match[1])
                self.assertIn(family, types, line)
        for name, kind in types.items():
            if kind == "histogram":
                buckets = [v for k, v in samples.items() if k.startswith(name + "_bucket")]
                self.assertEqual(buckets, sorted(buckets))
                self.assertEqual(buckets[-1], samples[name + "_count"])
        self.assertGreaterEqual(samples['nosa_tokens_total{kind="generated"}'], 3)
        self.assertGreaterEqual(samples['nosa_http_replies_total{route="/v1/completions",code="200"}'], 1)
        self.assertGreaterEqual(samples["nosa_first_token_seconds_count"], 1)
        self.assertGreaterEqual(samples["nosa_connections"], 1)
        # Nor has the server seen yet that a reader is gone when the next one asks.
        self.server.wait_for("only who asks is connected", lambda: self.server.metrics()["nosa_connections"] == 1)

    def test_tokens_there_and_back(self):
        text = "def f(x):\n    return \u00e4\U0001F600"
        _, _, there = self.server.ask("POST", "/tokenize", {"prompt": text})
        self.assertEqual(there["count"], len(there["tokens"]))
        self.assertEqual(there["max_model_len"], 4096)
        _, _, back = self.server.ask("POST", "/detokenize", {"tokens": there["tokens"]})
        self.assertEqual(back["prompt"], text)
        _, _, chat = self.server.ask("POST", "/tokenize", {"messages": [{"role": "user", "content": "Hi"}]})
        _, _, back = self.server.ask("POST", "/detokenize", {"tokens": chat["tokens"]})
        self.assertEqual(back["prompt"], "User: Hi\n\nAssistant:")
        _, _, info = self.server.ask("GET", "/tokenizer_info")
        self.assertEqual((info["bos_token"], info["eos_token"]), ("<s>", "</s>"))
        self.refused(400, "/tokenize", {}, "one of 'prompt' and 'messages'")
        self.refused(400, "/detokenize", {"tokens": [99999]}, r"tokens\[0\]")

    def test_openapi_has_every_route_and_field(self):
        _, _, api = self.server.ask("GET", "/openapi.json")
        self.assertEqual(api["openapi"], "3.1.0")
        for path, methods in api["paths"].items():
            for method in methods:
                # Every route that is described answers, whatever it thinks of an empty body.
                path = path.replace("{model}", "nosa-21m").replace("{file}", "main.js")
                status, _, _ = self.server.ask(method.upper(), path, {} if method == "post" else None)
                self.assertIn(status, (200, 400), path)
        fields = api["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(fields["required"], ["model", "messages"])
        self.assertEqual(fields["properties"]["temperature"]["anyOf"][0], {"type": "number", "minimum": 0.0, "maximum": 2.0})
        self.assertFalse(fields["additionalProperties"])

    def test_paths_and_methods(self):
        for path in ("/nowhere", "//v1/models", "/v1/../v1/models", "/v1/models/", "/..%2f..%2fetc/passwd", "/%00", "/v1/models%2f",
                     "/" + "a" * 4000):
            status, _, error = self.server.ask("GET", path)
            self.assertIn(status, (404,), path)
            self.assertIn("error", error)
        status, headers, _ = self.server.ask("GET", "/v1/completions")
        self.assertEqual((status, headers["Allow"]), (405, "POST"))
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
            status, headers, _ = self.server.ask(method, "/v1/models")
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))

    def test_what_is_no_json(self):
        for body in (b"", b"{", b"nothing", b"\xff\xfe", b"[" * 100000, b'{"model":"nosa-21m","prompt":"\xff"}'):
            status, _, reply = self.server.ask("POST", "/v1/completions", body, Content_Type="application/json")
            self.assertEqual(status, 400, body[:20])
            self.assertIn("parse", reply["error"]["message"])
        status, _, _ = self.server.ask("POST", "/v1/completions", b"{}", Content_Type="text/plain")
        self.assertEqual(status, 415)

    def test_refuses_what_openai_refuses(self):
        good = {"model": "nosa-21m", "prompt": "a", "max_tokens": 1}
        self.refused(400, "/v1/completions", {**good, "temperature": 3}, "above maximum", "temperature")
        self.refused(400, "/v1/completions", {**good, "nonsense": 1}, "Unrecognized request argument supplied: nonsense", "nonsense")
        self.refused(404, "/v1/completions", {**good, "model": "gpt"}, "`gpt` does not exist", "model")
        error = self.refused(400, "/v1/completions", {**good, "max_tokens": 5000}, "maximum context length is 4096")
        self.assertEqual(error["code"], "context_length_exceeded")
        self.refused(400, "/v1/completions", {**good, "prompt": [5] * 5000}, "maximum context length is 4096")
        self.refused(400, "/v1/completions", {**good, "logit_bias": {"8192": 1}})


class CompletionTest(ServerTest):
    def generate(self, *args):
        done = subprocess.run([PROGRAM, "generate", "--model", MODEL, "--json", "--quiet", "--threads", "2", *map(str, args)],
                              capture_output=True, check=True, timeout=240)
        return json.loads(done.stdout)

    def test_same_answer_as_the_command(self):
        answer = self.server.complete(prompt=PROMPT, max_tokens=24, temperature=0)
        self.assertEqual(answer["choices"][0]["text"], self.generate("--prompt", PROMPT, "--max-tokens", 24)["text"])
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"], {"prompt_tokens": 7, "completion_tokens": 24, "total_tokens": 31,
                                           "prompt_tokens_details": answer["usage"]["prompt_tokens_details"]})
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 24, "temperature": 0})
        self.assertEqual("".join(e["choices"][0]["text"] for e in events), answer["choices"][0]["text"])
        self.assertEqual([e["choices"][0]["finish_reason"] for e in events][-1], "length")

    def test_many_prompts_and_choices(self):
        one = [self.server.complete(prompt=p, max_tokens=6, temperature=0)["choices"][0]["text"] for p in (PROMPT, "import ")]
        both = self.server.complete(prompt=[PROMPT, "import "], n=2, max_tokens=6, temperature=0)
        self.assertEqual([c["index"] for c in both["choices"]], [0, 1, 2, 3])
        self.assertEqual([c["text"] for c in both["choices"]], [one[0], one[0], one[1], one[1]])
        self.assertEqual(both["usage"]["completion_tokens"], 24)
        ids = self.server.ask("POST", "/tokenize", {"prompt": PROMPT})[2]["tokens"]
        self.assertEqual(self.server.complete(prompt=[ids], max_tokens=6, temperature=0)["choices"][0]["text"], one[0])
        events = self.server.stream("/v1/completions", {"prompt": [PROMPT, "import "], "max_tokens": 6, "temperature": 0})
        for i in (0, 1):
            self.assertEqual("".join(e["choices"][0]["text"] for e in events if e["choices"][0]["index"] == i), one[i])

    def test_seeds(self):
        ask = {"prompt": "x = ", "max_tokens": 12, "temperature": 1.5}
        a, b = (self.server.complete(**ask, seed=11, n=3) for _ in range(2))
        texts = [c["text"] for c in a["choices"]]
        self.assertEqual(texts, [c["text"] for c in b["choices"]])
        self.assertEqual(len(set(texts)), 3)  # the choices of one request differ
        self.assertEqual(self.server.complete(**ask, seed=11)["choices"][0]["text"], texts[0])
        self.assertNotEqual(self.server.complete(**ask, seed=12)["choices"][0]["text"], texts[0])
        self.assertNotEqual(*(self.server.complete(**ask)["choices"][0]["text"] for _ in range(2)))

    def test_stop(self):
        whole = self.server.complete(prompt=PROMPT, max_tokens=40, temperature=0)["choices"][0]["text"]
        word = whole.split()[3]
        cut = self.server.complete(prompt=PROMPT, max_tokens=40, temperature=0, stop=[word, "never there"])["choices"][0]
        self.assertEqual(cut["text"], whole[:whole.index(word)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_bias_and_penalties(self):
        ids = self.server.ask("POST", "/tokenize", {"prompt": " zebra"})[2]["tokens"]
        forced = self.server.complete(prompt="a", max_tokens=3, temperature=0, logit_bias={str(ids[0]): 100})["choices"][0]["text"]
        piece = self.server.ask("POST", "/detokenize", {"tokens": [ids[0]] * 3})[2]["prompt"]
        self.assertEqual(forced, piece)
        plain = self.server.complete(prompt="a a a a a a", max_tokens=30, temperature=0)["choices"][0]["text"]
        other = self.server.complete(prompt="a a a a a a", max_tokens=30, temperature=0, frequency_penalty=2)["choices"][0]["text"]
        self.assertNotEqual(plain, other)

    def test_echo_and_logprobs(self):
        answer = self.server.complete(prompt=PROMPT, max_tokens=5, temperature=0, echo=True, logprobs=2)["choices"][0]
        logprobs = answer["logprobs"]
        self.assertTrue(answer["text"].startswith(PROMPT))
        self.assertEqual("".join(logprobs["tokens"]), answer["text"])
        self.assertEqual(len(logprobs["tokens"]), 12)
        self.assertIsNone(logprobs["token_logprobs"][0])
        self.assertIsNone(logprobs["top_logprobs"][0])
        for i, token in enumerate(logprobs["tokens"]):
            self.assertEqual(answer["text"][logprobs["text_offset"][i]:][:len(token)], token)
            if i > 0:
                self.assertEqual(logprobs["top_logprobs"][i][token], logprobs["token_logprobs"][i])
                self.assertIn(len(logprobs["top_logprobs"][i]), (2, 3))
        for i in range(7, 12):  # greedy: what came is the likeliest
            self.assertEqual(max(logprobs["top_logprobs"][i].values()), logprobs["token_logprobs"][i])
        # A prompt alone, and the same by stream.
        alone = self.server.complete(prompt=PROMPT, max_tokens=0, echo=True, logprobs=2)["choices"][0]
        self.assertEqual(alone["text"], PROMPT)
        self.assertEqual(alone["logprobs"]["token_logprobs"][1:], logprobs["token_logprobs"][1:7])
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "echo": True, "logprobs": 2})
        self.assertEqual("".join(e["choices"][0]["text"] for e in events), answer["text"])
        streamed = [x for e in events if e["choices"][0]["logprobs"] for x in e["choices"][0]["logprobs"]["text_offset"]]
        self.assertEqual(streamed, logprobs["text_offset"])

    def test_best_of(self):
        ask = {"prompt": "x = ", "max_tokens": 8, "temperature": 1.5, "seed": 5}
        every = self.server.complete(**ask, n=4, logprobs=0)["choices"]
        means = [sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["token_logprobs"]) for c in every]
        best = self.server.complete(**ask, best_of=4)["choices"]
        self.assertEqual([c["text"] for c in best], [every[means.index(max(means))]["text"]])
        self.assertIsNone(best[0]["logprobs"])

    def test_given_forms(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 9}}, "required": ["n"],
                  "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
        answer = self.server.complete(prompt="x", max_tokens=60, response_format=form)["choices"][0]
        self.assertIn(json.loads(answer["text"])["n"], range(3, 10))
        self.assertEqual(answer["finish_reason"], "stop")
        text = self.server.complete(prompt="x", max_tokens=60, grammar='root ::= "yes" | "no"')["choices"][0]["text"]
        self.assertIn(text, ("yes", "no"))


class ChatTest(ServerTest):
    def test_answers(self):
        answer = self.server.chat("def f(x):", max_tokens=8, temperature=0)
        message = answer["choices"][0]["message"]
        self.assertEqual(answer["object"], "chat.completion")
        self.assertEqual(message["role"], "assistant")
        # The plain template is a transcript that the model goes on with.
        same = self.server.complete(prompt="User: def f(x):\n\nAssistant:", max_tokens=8, temperature=0)
        self.assertEqual(message["content"], same["choices"][0]["text"])
        events = self.server.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "def f(x):"}], "max_tokens": 8,
                                                             "temperature": 0, "stream_options": {"include_usage": True}})
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        text = "".join(e["choices"][0]["delta"].get("content", "") for e in events[:-1])
        self.assertEqual(text, message["content"])
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], "length")
        self.assertEqual((events[-1]["choices"], events[-1]["usage"]["completion_tokens"]), ([], 8))
        self.assertTrue(all(e["usage"] is None for e in events[:-1]))

    def test_logprobs(self):
        answer = self.server.chat("a", max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)["choices"][0]
        content = answer["logprobs"]["content"]
        self.assertEqual(len(content), 4)
        self.assertEqual(b"".join(bytes(t["bytes"]) for t in content).decode(), answer["message"]["content"])
        for token in content:
            self.assertEqual(len(token["top_logprobs"]), 3)
            self.assertEqual(token["top_logprobs"][0]["logprob"], token["logprob"])

    def test_progress(self):
        body = {"messages": [{"role": "user", "content": "a b c " * 300}], "max_tokens": 2, "nosa": {"progress": True}}
        events = self.server.stream("/v1/chat/completions", body)
        told = [e["nosa"] for e in events if "nosa" in e]
        done = [t["prompt_done"] for t in told if "prompt_done" in t]
        self.assertEqual(done, sorted(done))
        self.assertEqual(done[-1], told[-1]["prompt_tokens"])
        self.assertGreater(len(set(done)), 2)
        self.assertEqual(len({t["answer_id"] for t in told}), 1)
        self.assertFalse(any("nosa" in e for e in self.server.stream("/v1/chat/completions", {**body, "nosa": None})))

    def test_json_object(self):
        answer = self.server.chat("json", max_tokens=300, temperature=0, response_format={"type": "json_object"})["choices"][0]
        if answer["finish_reason"] == "stop":
            self.assertIsInstance(json.loads(answer["message"]["content"]), dict)
        self.assertTrue(answer["message"]["content"].startswith("{"))

    def test_this_model_takes_no_tools(self):
        tools = [{"type": "function", "function": {"name": "f"}}]
        body = {"model": "nosa-21m", "messages": [{"role": "user", "content": "a"}], "tools": tools}
        self.refused(400, "/v1/chat/completions", body, "takes no tools", "tools")


class ToolTest(ServerTest):
    @classmethod
    def setUpClass(cls):
        cls.template = tempfile.NamedTemporaryFile("w", suffix=".jinja")
        cls.template.write(TOOL_TEMPLATE)
        cls.template.flush()
        cls.ARGS = ("--context", 4096, "--quiet", "--chat-template", cls.template.name, "--served-model-name", "a",
                    "--served-model-name", "b")
        super().setUpClass()
        cls.addClassCleanup(cls.template.close)

    TOOLS = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"],
        "additionalProperties": False}}}, {"type": "function", "function": {"name": "now"}}]

    LONG_TOOL = {"type": "function", "function": {"name": "add", "parameters": {
        "type": "object", "properties": {"a": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 100}}, "required": ["a"]}}}

    def test_names(self):
        self.assertEqual([m["id"] for m in self.server.ask("GET", "/v1/models")[2]["data"]], ["a", "b"])
        self.assertEqual(self.server.ask("POST", "/v1/completions", {"model": "b", "prompt": "x", "max_tokens": 1})[0], 200)

    def test_forced(self):
        for choice in ("required", {"type": "function", "function": {"name": "add"}}):
            answer = self.server.chat("add 3", max_tokens=200, temperature=0, tools=self.TOOLS, tool_choice=choice)["choices"][0]
            self.assertEqual(answer["finish_reason"], "tool_calls")
            call = answer["message"]["tool_calls"][0]
            self.assertIn(call["function"]["name"], ("add",) if isinstance(choice, dict) else ("add", "now"))
            if call["function"]["name"] == "add":
                self.assertIn(json.loads(call["function"]["arguments"])["a"], range(10))
        body = {"messages": [{"role": "user", "content": "add 3"}], "max_tokens": 200, "temperature": 0,
                "tools": self.TOOLS, "tool_choice": choice}
        events = self.server.stream("/v1/chat/completions", body)
        whole = self.server.chat("add 3", max_tokens=200, temperature=0, tools=self.TOOLS, tool_choice=choice)["choices"][0]
        call, pieces = self.streamed_call(events)
        self.assertEqual(call, whole["message"]["tool_calls"][0]["function"])
        self.assertGreater(pieces, 1)  # as the model writes them
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")

    def streamed_call(self, events):
        """(name and arguments of the one call of a stream, pieces of its arguments); the form is OpenAI's."""
        calls = [c for e in events for c in e["choices"][0]["delta"].get("tool_calls", [])]
        self.assertRegex(calls[0].pop("id"), "^call_[0-9A-Za-z]{24}$")
        self.assertEqual(calls[0].pop("type"), "function")
        call = calls[0]["function"]
        self.assertEqual((calls[0]["index"], call["arguments"]), (0, ""))
        for piece in calls[1:]:
            self.assertEqual((sorted(piece), piece["index"], list(piece["function"])), (["function", "index"], 0, ["arguments"]))
            call["arguments"] += piece["function"]["arguments"]
        return call, len(calls) - 1

    def test_a_call_that_is_cut(self):
        """As OpenAI's: as much of its arguments as there are, and that the length ended it."""
        ask = {"max_tokens": 30, "temperature": 0, "tools": [self.LONG_TOOL], "tool_choice": "required", "logprobs": True}
        whole = self.server.chat("add", **ask)["choices"][0]
        events = self.server.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "add"}], **ask})
        self.assertEqual(self.streamed_call(events)[0], whole["message"]["tool_calls"][0]["function"])
        self.assertEqual((whole["finish_reason"], events[-1]["choices"][0]["finish_reason"]), ("length", "length"))
        self.assertEqual(len([t for e in events if e["choices"][0]["logprobs"] for t in e["choices"][0]["logprobs"]["content"]]), 30)

    def test_auto_stays_text(self):
        answer = self.server.chat("x", max_tokens=8, temperature=0, tools=self.TOOLS)["choices"][0]
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 8, "temperature": 0, "tools": self.TOOLS}
        events = self.server.stream("/v1/chat/completions", body)
        self.assertEqual("".join(e["choices"][0]["delta"].get("content") or "" for e in events), answer["message"]["content"])

    def test_a_conversation_with_calls(self):
        call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}
        body = {"model": "a", "max_tokens": 2, "tools": self.TOOLS, "messages": [
            {"role": "user", "content": "add"}, {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2"}]}
        self.assertEqual(self.server.ask("POST", "/v1/chat/completions", body)[0], 200)


class KeyTest(ServerTest):
    """Keys, names of tenants, limits."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        path = os.path.join(cls.directory.name, "keys")
        with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as keys:
            keys.write("alices-long-secret name=alice\nbobs-long-secret-2 name=bob requests-per-minute=2\n"
                       "carols-long-secret-3 name=carol\n")
        cls.ARGS = ("--context", 2048, "--api-key-file", path, "--host", "0.0.0.0")
        super().setUpClass()

    def test_who_may_ask(self):
        for key, status in ((None, 401), ("Bearer wrong", 401), ("alices-long-secret", 401), ("Bearer alices-long-secret", 200),
                            ("bearer alices-long-secret", 200)):
            headers = {"Authorization": key} if key else {}
            got, reply_headers, body = self.server.ask("GET", "/v1/models", **headers)
            self.assertEqual(got, status, key)
            if status == 401:
                self.assertEqual(body["error"]["code"], "invalid_api_key")
                self.assertEqual(reply_headers["WWW-Authenticate"], "Bearer")
        for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
            self.assertEqual(self.server.ask("POST", path, {})[0], 401)
        self.assertEqual(self.server.ask("GET", "/metrics")[0], 401)
        self.assertEqual(self.server.ask("GET", "/health")[0], 200)
        self.assertNotIn("secret", self.server.log())

    def test_beginnings_are_shared_within_a_key_alone(self):
        ask = {"model": "nosa-21m", "prompt": list(range(300, 1000)), "max_tokens": 4, "temperature": 0}
        cached, texts = [], set()
        for key in ("alices-long-secret", "alices-long-secret", "carols-long-secret-3", "carols-long-secret-3"):
            status, _, body = self.server.ask("POST", "/v1/completions", ask, Authorization="Bearer " + key)
            self.assertEqual(status, 200, body)
            cached.append(body["usage"]["prompt_tokens_details"]["cached_tokens"])
            texts.add(body["choices"][0]["text"])
        self.assertEqual(cached, [0, 512, 0, 512])
        self.assertEqual(len(texts), 1)

    def test_limits(self):
        ask = {"model": "nosa-21m", "prompt": "a", "max_tokens": 1}
        codes = [self.server.ask("POST", "/v1/completions", ask, Authorization="Bearer bobs-long-secret-2") for _ in range(4)]
        self.assertEqual([c[0] for c in codes], [200, 200, 429, 429])
        self.assertGreater(int(codes[-1][1]["Retry-After"]), 0)
        self.assertEqual(codes[-1][2]["error"]["code"], "rate_limit_exceeded")
        self.assertEqual(self.server.ask("POST", "/v1/completions", ask, Authorization="Bearer alices-long-secret")[0], 200)
        self.assertIn(" bob ", self.server.log())


class QueueTest(ServerTest):
    ARGS = ("--context", 2048, "--quiet", "--max-requests", 1, "--max-queue", 1)

    def test_a_full_queue_says_when_to_come_back(self):
        ask = {"model": "nosa-21m", "prompt": "a", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        connections = []
        for state in ("answering", "queued"):
            connections.append(self.server.connect())
            connections[-1].request("POST", "/v1/completions", json.dumps(ask), {"Content-Type": "application/json"})
            self.server.wait_for(state, lambda: self.server.metrics()[f'nosa_requests{{state="{state}"}}'] == 1)
        status, headers, error = self.server.ask("POST", "/v1/completions", ask)
        self.assertEqual((status, error["error"]["code"]), (503, "overloaded"))
        self.assertIn(int(headers["Retry-After"]), range(1, 61))
        for connection in connections:
            connection.close()
        self.server.wait_for("nothing at work", lambda: self.server.at_work() == 0)


class StartTest(ServerTest):
    ARGS = ("--context", 64, "--max-body", "1KiB", "--max-requests", 1)

    def fails(self, *args):
        done = subprocess.run([PROGRAM, "serve", "--model", MODEL, *map(str, args)], capture_output=True, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, b"")
        return done.stderr.decode().splitlines()[-1]

    def test_refuses_to_start(self):
        self.assertIn("only this machine is served", self.fails("--host", "0.0.0.0", "--context", 64))
        self.assertIn("cannot listen", self.fails("--port", self.server.port, "--context", 64))
        self.assertIn("expected both of --tls-cert and --tls-key", self.fails("--tls-cert", "x"))
        self.assertIn("no certificate", self.fails("--tls-cert", os.devnull, "--tls-key", os.devnull, "--context", 64))
        self.assertIn("--port: expected an integer from 0 to 65535", self.fails("--port", 70000))
        self.assertIn("--max-connections", self.fails("--max-connections", 5))
        self.assertIn("No such file", self.fails("--api-key-file", "/nowhere/keys"))

    def test_small_limits(self):
        self.refused(413, "/v1/completions", {"model": "nosa-21m", "prompt": "x" * 2000}, "at most 1024")
        self.assertEqual(self.server.ask("GET", "/health")[0], 200)


if __name__ == "__main__":
    main()
