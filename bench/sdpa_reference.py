#!/usr/bin/env python3
"""Times PyTorch's scaled_dot_product_attention, which dense block attention is compared with: a causal forward pass of
the whole context, bf16, for each of its backends that takes the shape. Prints JSON.

usage: bench/sdpa_reference.py [--context 32768] [--heads 32] [--kv-heads 2] [--dim 128] [--repeats 9]
Needs PyTorch with CUDA; nothing else of the project does.
"""
import argparse
import json
import statistics
import sys

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.attention import SDPBackend, sdpa_kernel


def time_calls(run, repeats):
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--context", type=int, default=32768)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU")

    torch.manual_seed(1)

    def tensor(heads):
        return torch.randn(1, heads, args.context, args.dim, device="cuda", dtype=torch.bfloat16)

    q, k, v = tensor(args.heads), tensor(args.kv_heads), tensor(args.kv_heads)
    groups = args.heads // args.kv_heads
    repeated = {"k": k.repeat_interleave(groups, dim=1), "v": v.repeat_interleave(groups, dim=1)}
    # Of what a causal pass asks for: query i sees i + 1 keys.
    flops = 4 * args.heads * args.dim * args.context * (args.context + 1) / 2

    backends = {"default": None, "flash": SDPBackend.FLASH_ATTENTION}
    if hasattr(SDPBackend, "CUDNN_ATTENTION"):
        backends["cudnn"] = SDPBackend.CUDNN_ATTENTION
    rows = []
    for name, backend in backends.items():
        for grouped in (True, False):

            def run():
                if grouped:
                    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
                return scaled_dot_product_attention(q, repeated["k"], repeated["v"], is_causal=True)

            row = {"backend": name, "kv": "grouped" if grouped else "repeated"}
            try:
                if backend is None:
                    times = time_calls(run, args.repeats)
                else:
                    with sdpa_kernel(backend):
                        times = time_calls(run, args.repeats)
            except (RuntimeError, TypeError) as error:  # a shape, or an argument, that this one does not take
                rows.append({**row, "error": str(error).splitlines()[0]})
                continue
            median = statistics.median(times)
            rows.append({**row, "ms": {"median": median * 1e3, "min": min(times) * 1e3, "max": max(times) * 1e3},
                         "tflop_s": flops / median / 1e12})
    print(json.dumps({"benchmark": "sdpa", "torch": torch.__version__, "device": torch.cuda.get_device_name(),
                      "context": args.context, "heads": args.heads, "kv_heads": args.kv_heads, "dim": args.dim,
                      "causal_flops": flops, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
