#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/: what the reference library says about tokenizers and texts of many kinds.

    python3 -m venv .venv && .venv/bin/pip install tokenizers
    .venv/bin/python tools/tokenizer_goldens.py [--keep-tokenizers]

Trains two small tokenizers of the forms of Llama 3 and Qwen 2 on this repository's text (--keep-tokenizers: reads
those that are there), then writes cases.json, which src/text/tokenizer_golden_test.cc replays without Python:

    texts        the inputs, as text or, for bytes that are not UTF-8, as hex
    tokenizers   each with "file", from the root of the repository, "set", fields that replace those of the file,
                 and "cases": "text" (an index), "ids" (with special tokens parsed and added), "plain" (neither; left
                 out when equal), "decoded" and "skipped" (decoded with and without special tokens; left out when
                 equal to the text)
"""

import argparse
import json
import pathlib

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/golden/tokenizers"
DEMO = "models/nosa-21m/tokenizer.json"
LLAMA3 = "tests/golden/tokenizers/llama3_form.json"
QWEN2 = "tests/golden/tokenizers/qwen2_form.json"

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3_SPLIT = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace("{1,3}", "")


def training_text():
    files = [p for g in ("src/**/*.h", "src/**/*.cc", "cmake/*", "models/*/*.md") for p in ROOT.glob(g)]
    return [p.read_text() for p in sorted(files)] + ["Grüße, naïve café. Привет, мир. 你好，世界。 Ångström e\u0301"] * 5


def train(split, size, special, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens(special)
    return t


def train_llama3():
    t = train(LLAMA3_SPLIT, 2200, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], ignore_merges=True)
    bos = "<|begin_of_text|>"
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                      special_tokens=[(bos, t.token_to_id(bos))])])
    return t


def train_qwen2():
    t = train(QWEN2_SPLIT, 1500, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC())
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<left>", lstrip=True, normalized=False),
                  AddedToken("<right>", rstrip=True, normalized=False),
                  AddedToken("word", single_word=True, normalized=False),
                  AddedToken("<cafe\u0301>", normalized=True), AddedToken("<im", normalized=False),
                  AddedToken("<tool>box", normalized=True)])
    t.add_special_tokens([AddedToken("<both>", lstrip=True, rstrip=True, normalized=False)])
    t.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", pair="$A $B",
        special_tokens=[(s, t.token_to_id(s)) for s in ("<|im_start|>", "<|im_end|>")])
    return t


def texts():
    code = (ROOT / "src/base/bytes.cc").read_text()
    design = (ROOT / "models/nosa-21m/MODEL_CARD.md").read_text()
    plain = [
        "", " ", "a", "\n", "Hello, world!", code[:900], design[:700],
        "def f(x):\n\treturn x  # tab\n\n\n    if x:\n        pass\n",
        "Grüße aus Köln, naïve café, señor, smørrebrød, żółć, İstanbul, ﬁne ﬆ", "Привет, мир! Ёлки-палки, съешь ещё.",
        "你好，世界。这是一个测试。日本語のテキスト、ﾊﾝｶｸ ｶﾞ。한국어 텍스트", "שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก", "ᚠᛇᚻ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕊 𐍈 𠜎𠜱",
        "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☃", "e\u0301 a\u0323\u0307 a\u0307\u0323 \u1e69 s\u0323\u0307 \u212b \u1100\u1161\u11a8 \u0344 \u0f73\u0f71",
        "\u0316\u0301" * 40, "\u0f73" * 70, "1 12 123 1234 12345 3.14159 1,000,000 ½ ² Ⅷ ٣ ४ 0x1F 1e-9",
        "I'm you're he'd we'll they've it's don't I'M YOU'RE IT'S DON'T 'S 'ſ ''s ' s x'y",
        "    leading", "trailing    ", "a  b   c    d", "\t\t\tx\t \ty", " " * 300 + "x" + " " * 70, "\n" * 50, "\r\n" * 5 + " \r\n\r a\r\nb\rc\n\r",
        "a\u00a0b\u2003c\u200bd\u3000e\u0085f\u180eg\u2028h\ufeffi\u1680j", "".join(map(chr, range(0x20))) + "\x7f\x80\x9f\u00ad",
        "word wordy sword word, (word) word_ éword word\u0301 words word", "a  <left>  b <right>  c  <both>   d<both>e  <both>",
        "x<tool>y <tool>box <tool><tool>", "<cafe\u0301><caf\u00e9> x", "<|im_start|>user\nHi<|im_end|>\n<|im_start|><im<im<|im_end",
        "<s>a</s> b<pad></s><s> <s", "<|begin_of_text|>Hi<|eot_id|><|end_of_text|><|begin_of_text", "<|endoftext|>x<|endoftext|>",
        "a" * 400, "ab" * 70, "!" * 90, "=" * 77 + "\n" + "-" * 33, "äöü" * 60, "\ufffd \U0010ffff \ue000", "x" * 49 + " " + "ab" * 24 + "c",
        "std::unique_ptr<const Foo>&& operator->() noexcept(true) = delete; // §3.9 → “why”…", "constexpr\u0301 static_assert NOSA_CHECK(!\"no\")",
        "The quick brown fox. " * 9, "_snake_case CamelCase kebab-case SCREAMING_CASE http://x.y/z?a=b&c=d#e", "Ā Ġ Ċ ĉ Ń ŉ ł",
    ]
    broken = [b"a\xffb", b"\xc3", b"\xe2\x82", b"\xe2\x82x\xf0\x9f\x92", b"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf5", b"ok \xf0\x9f\x98\x80 \xf0\x9f\x98 \x80\xbf",
              bytes(range(128, 256)), b"\xe0\x80\x80 \xf0\x80\x80\x80 \xf8\x88\x80\x80\x80"]
    return [t.encode() for t in plain] + broken


def variants(demo):
    """Fields in other forms, over the small tokenizers."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    splits = []
    for i, behavior in enumerate(["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]):
        for invert in (False, True):
            pattern = [{"Regex": r"\d|\s"}, {"String": "a"}, {"Regex": r"x*"}, {"Regex": r"\b\w"}][(2 * i + invert) % 4]
            splits.append({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert})
    out = [(QWEN2, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [s, byte_level]}}) for s in splits]
    gpt2 = {**byte_level, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    sequence = lambda *items: {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(items)}}
    out += [
        (LLAMA3, sequence(digits, gpt2)), (LLAMA3, sequence({**digits, "individual_digits": False}, byte_level)),
        (LLAMA3, sequence({**gpt2, "add_prefix_space": True}, digits, splits[0])),
        (LLAMA3, {"pre_tokenizer": {**gpt2, "add_prefix_space": True}, "model.ignore_merges": False}),
        (LLAMA3, {"pre_tokenizer": byte_level}), (QWEN2, {"normalizer": {"type": "NFKC"}}), (QWEN2, {"normalizer": {"type": "NFD"}}),
        (QWEN2, {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "NFC"}]}}),
        # Characters instead of bytes: what has no token vanishes, or is unk_token.
        (QWEN2, {"pre_tokenizer": None, "normalizer": None}), (QWEN2, {"pre_tokenizer": digits, "model.unk_token": "!"}),
        (QWEN2, {"pre_tokenizer": splits[0], "model.unk_token": "?", "model.fuse_unk": True}),
        (LLAMA3, {"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]}}),
    ]
    return out


def patched(file, fields):
    config = json.loads((ROOT / file).read_text())
    for path, value in fields.items():
        place = config
        *parents, last = path.split(".")
        for key in parents:
            place = place[key]
        place[last] = value
    return Tokenizer.from_str(json.dumps(config))


def case(tokenizer, index, data):
    text = data.decode(errors="replace")
    tokenizer.encode_special_tokens = False
    ids = tokenizer.encode(text).ids
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    out = {"text": index, "ids": ids}
    if plain != ids:
        out["plain"] = plain
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    skipped = tokenizer.decode(ids, skip_special_tokens=True)
    if decoded != text:
        out["decoded"] = decoded
    if skipped != text:
        out["skipped"] = skipped
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-tokenizers", action="store_true")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not args.keep_tokenizers:
        train_llama3().save(str(ROOT / LLAMA3), pretty=False)
        train_qwen2().save(str(ROOT / QWEN2), pretty=False)
        # The older way to write merges.
        config = json.loads((ROOT / QWEN2).read_text())
        config["model"]["merges"] = [" ".join(m) for m in config["model"]["merges"]]
        (ROOT / QWEN2).write_text(json.dumps(config, ensure_ascii=False, separators=(",", ":")))
    inputs = texts()
    entries = []
    for data in inputs:
        try:
            entries.append({"text": data.decode()})
        except UnicodeDecodeError:
            entries.append({"hex": data.hex()})
    listed = [(f, {}, range(len(inputs))) for f in (DEMO, LLAMA3, QWEN2)]
    short = [i for i, data in enumerate(inputs) if len(data) < 110]
    listed += [(f, s, short[i % 2::2]) for i, (f, s) in enumerate(variants(DEMO))]
    result = {"reference": f"tokenizers {tokenizers.__version__}", "texts": entries, "tokenizers": []}
    for file, fields, indices in listed:
        tokenizer = patched(file, fields)
        cases = [case(tokenizer, i, inputs[i]) for i in indices]
        result["tokenizers"].append({"file": file, "set": fields, "cases": cases})
    lines = json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace('{"text":', '\n{"text":')
    (OUT / "cases.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
