"""docs/nosa.md in numpy: what a model computes, written from that page's equations in float32 and without haste. Whole
sequences, dense masks, block summaries pooled anew from all keys whenever they are asked for. It shares nothing with the
engine, so that each can be checked by the other."""
import json
import math
import pathlib
import struct

import numpy as np

ROWS = 256  # queries at a time: half of the mask is never looked at

DTYPES = {"F32": "<f4", "I32": "<i4", "U8": "u1", "BF16": "<u2"}


class Wrong(Exception):
    """What a user is told about a file or flag."""


def read_tensors(path):
    """{name: array} of a safetensors file; bf16 becomes float32."""
    try:
        data = pathlib.Path(path).read_bytes()
        size, = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + size])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = values
        return tensors
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise Wrong(f"{path}: expected a safetensors file of {', '.join(DTYPES)}: {error}") from error


class Config:
    """Sizes of a model, those of the attention by the letters of docs/nosa.md."""

    def __init__(self, path):
        try:
            self.parse(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise Wrong(f"{path}: {error.strerror}") from error
        except KeyError as error:
            raise Wrong(f"{path}: expected the field {error}, found none") from error
        except (ValueError, Wrong) as error:
            raise Wrong(f"{path}: {error}") from error

    def parse(self, fields):
        sparse = fields.get("sparse_config") or {}
        rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
        plain = {"hidden_act": fields.get("hidden_act", "silu") == "silu", "attention_bias": not fields.get("attention_bias"),
                 "mlp_bias": not fields.get("mlp_bias"), "use_nope": not sparse.get("use_nope"),
                 "rope_scaling": rope.get("rope_type", rope.get("type", "default")) == "default"}
        if not all(plain.values()):
            raise Wrong(f"not computed here: {', '.join(name for name, is_plain in plain.items() if not is_plain)}")
        self.layers = fields["num_hidden_layers"]
        self.vocabulary = fields["vocab_size"]
        self.H = fields["num_attention_heads"]
        self.G = fields.get("num_key_value_heads") or self.H
        self.D = fields.get("head_dim") or fields["hidden_size"] // self.H
        self.norm_eps = fields.get("rms_norm_eps", 1e-6)
        self.theta = rope.get("rope_theta") or fields.get("rope_theta") or 10000.0
        self.tied = fields.get("tie_word_embeddings", False)
        self.B = sparse.get("block_size", 64)
        self.ks, self.st = sparse.get("kernel_size", 32), sparse.get("kernel_stride", 16)
        self.k_init = sparse.get("init_blocks", 1)
        window = sparse.get("window_size", 1024)
        self.k_local = window // self.B
        self.k_q = sparse.get("query_topk", 16)
        self.k = sparse.get("topk", 64)
        if (min(self.k_init, self.k_local, self.k_q, self.st) < 1 or self.ks % self.st or self.B % self.st or window % self.B
                or self.k < self.k_init + self.k_local + self.k_q):
            raise Wrong("the fields of sparse_config do not fit together: docs/nosa.md says how they must")


class Model:
    def __init__(self, directory):
        self.config = Config(pathlib.Path(directory) / "config.json")
        self.weights = read_tensors(pathlib.Path(directory) / "model.safetensors")
        for name, weight in self.weights.items():
            if weight.dtype != np.float32:
                raise Wrong(f"{directory}/model.safetensors: expected {name} as BF16 or F32, found {weight.dtype}")

    def weight(self, name):
        if name not in self.weights:
            raise Wrong(f"model.safetensors: expected {name}, found none")
        return self.weights[name]

    def logits(self, hidden):
        return hidden @ self.weight("model.embed_tokens.weight" if self.config.tied else "lm_head.weight").T


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * weight


def rotate(x, positions, theta):
    """RoPE of [tokens, heads, D], in the half-split form."""
    half = x.shape[-1] // 2
    # As Hugging Face rounds it: the power first, then its inverse.
    frequency = np.float32(1) / (theta ** (np.arange(half) / half)).astype(np.float32)
    angle = positions.astype(np.float32)[:, None, None] * frequency
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def masked_softmax(x, mask):
    """Softmax over the last axis, of what the mask lets through; zeros where that is nothing."""
    x = np.where(mask, x, np.float32(-np.inf))
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    x = np.exp(x - np.where(np.isfinite(top), top, np.float32(0)))
    total = x.sum(axis=-1, keepdims=True)
    return x / np.where(total > 0, total, np.float32(1))


def highest(scores, count):
    """True for the `count` highest of each row; ties go to the lower index."""
    order = np.argsort(-scores, axis=-1, kind="stable")[:, :count]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return chosen


def gap_of(scores, taken, left):
    """The smallest distance between a block taken and one left out; equal scores are of one window, which both share."""
    distances = scores[taken][:, None] - scores[left][None, :]
    return float(distances[distances > 0].min(initial=np.inf))


def select(config, q, k, s, positions):
    """Of one KV head: the blocks that each query reads [tokens, blocks], and the gap of the last one's choices.

    q [heads of the group, tokens, D] at `positions`; k [n, D] and s [n] of the whole sequence."""
    c, n = config, len(k)
    blocks = np.arange(-(-n // c.B))
    windows = np.arange(max(0, (n - c.ks) // c.st + 1))
    tokens = c.st * windows[:, None] + np.arange(c.ks)
    pooled_k, pooled_s = k[tokens].mean(axis=1), s[tokens].mean(axis=1)
    visible = positions[:, None] >= c.st * windows + c.ks - 1
    P = masked_softmax(q @ pooled_k.T / np.float32(math.sqrt(c.D)), visible).sum(axis=0)

    Q = np.full((len(positions), len(blocks)), -np.inf, np.float32)
    E = Q.copy()
    stride_b = c.B // c.st
    for b in blocks:
        covering = windows[(stride_b * b - 1 <= windows) & (windows <= stride_b * b + stride_b - 1)]
        seen = visible[:, covering]
        Q[:, b] = np.where(seen, P[:, covering], -np.inf).max(axis=1, initial=-np.inf)
        E[:, b] = np.where(seen, pooled_s[covering], -np.inf).max(axis=1, initial=-np.inf)

    current = positions[:, None] // c.B
    exists = blocks <= current
    forced = exists & ((blocks < c.k_init) | (blocks >= current - c.k_local))
    Q, E = np.where(exists, Q, -np.inf), np.where(exists, E, -np.inf)
    by_query = exists & highest(np.where(forced, np.inf, Q), c.k_init + c.k_local + c.k_q)
    chosen = exists & highest(np.where(by_query, np.inf, E), c.k)
    gap = min(gap_of(Q[-1], by_query[-1] & ~forced[-1], exists[-1] & ~by_query[-1]),
              gap_of(E[-1], chosen[-1] & ~by_query[-1], exists[-1] & ~chosen[-1]))
    return chosen, gap


class Sequence:
    """Keys, values and importance of every layer's tokens so far. After a call, `inputs` are the hidden states that each
    layer got [tokens, hidden], and in mode nosa `selected` [layers, G, blocks] and `gaps` (layer by layer) those of its
    last token."""

    def __init__(self, model, mode):
        c = model.config
        self.model, self.mode = model, mode
        self.length = 0
        self.k = [np.zeros((0, c.G, c.D), np.float32) for _ in range(c.layers)]
        self.v = [np.zeros((0, c.G, c.D), np.float32) for _ in range(c.layers)]
        self.s = [np.zeros((0, c.G), np.float32) for _ in range(c.layers)]

    def append(self, ids):
        """The hidden states of `ids`, normalised, from which logits are made [tokens, hidden]."""
        c, weight = self.model.config, self.model.weight
        positions = np.arange(self.length, self.length + len(ids))
        self.length += len(ids)
        self.selected, self.gaps, self.inputs = [], [], []
        x = weight("model.embed_tokens.weight")[ids]
        for layer in range(c.layers):
            self.inputs.append(x)
            name = f"model.layers.{layer}."
            x = x + self.attend(layer, self.normed(layer, x), positions)
            y = rms_norm(x, weight(name + "post_attention_layernorm.weight"), c.norm_eps)
            gate = y @ weight(name + "mlp.gate_proj.weight").T
            up = y @ weight(name + "mlp.up_proj.weight").T
            x = x + (gate / (np.float32(1) + np.exp(-gate)) * up) @ weight(name + "mlp.down_proj.weight").T
        assert x.dtype == np.float32
        return rms_norm(x, weight("model.norm.weight"), c.norm_eps)

    def normed(self, layer, x):
        """What attention of the layer reads of the hidden states x."""
        return rms_norm(x, self.model.weight(f"model.layers.{layer}.input_layernorm.weight"), self.model.config.norm_eps)

    def queries(self, layer, x, positions):
        c = self.model.config
        q = x @ self.model.weight(f"model.layers.{layer}.self_attn.q_proj.weight").T
        return rotate(q.reshape(-1, c.H, c.D), positions, c.theta)

    def attend(self, layer, x, positions):
        c = self.model.config

        def weight(name):
            return self.model.weight(f"model.layers.{layer}.self_attn.{name}")

        q = self.queries(layer, x, positions)
        k = rotate((x @ weight("k_proj.weight").T).reshape(-1, c.G, c.D), positions, c.theta)
        v = x @ weight("v_proj.weight").T
        s = np.zeros((len(x), c.G), np.float32)
        if self.mode == "nosa":
            s = weight("A") * np.logaddexp(np.float32(0), v @ weight("delta.weight").T)
        k = self.k[layer] = np.concatenate([self.k[layer], k])
        v = self.v[layer] = np.concatenate([self.v[layer], v.reshape(-1, c.G, c.D)])
        s = self.s[layer] = np.concatenate([self.s[layer], s])

        token = np.arange(self.length)
        causal = token <= positions[:, None]
        out = np.empty((len(x), c.H, c.D), np.float32)
        group = c.H // c.G
        selected = []
        for head in range(c.H):
            kv = head // group
            if head % group == 0:
                mask = causal
                if self.mode == "nosa":
                    chosen, gap = select(c, q[:, head:head + group].swapaxes(0, 1), k[:, kv], s[:, kv], positions)
                    mask = causal & chosen[:, token // c.B]
                    selected.append(chosen[-1])
                    self.gaps.append(gap)
            for first in range(0, len(x), ROWS):
                rows, seen = slice(first, first + ROWS), slice(int(positions[first:first + ROWS][-1]) + 1)
                scores = q[rows, head] @ k[seen, kv].T / np.float32(math.sqrt(c.D)) + s[seen, kv]
                out[rows, head] = masked_softmax(scores, mask[rows, seen]) @ v[seen, kv]
        self.selected.append(selected)
        return out.reshape(len(x), -1) @ weight("o_proj.weight").T
