#!/bin/bash
# Runs the GPU benchmarks behind docs/performance.md and writes their JSON to bench/results/. Needs a GPU of 80 GB and
# about 110 GiB of RAM; takes some ten minutes. Leave the machine alone meanwhile.
# usage: bench/gpu.sh [part]...   parts: transfer limited repeat whole slack prefill   (default: all)
# NOSA: the program (default: build/release/nosa); RESULTS: where to write (default: bench/results)
set -euo pipefail
cd "$(dirname "$0")/.."
nosa=${NOSA:-build/release/nosa}
out=${RESULTS:-bench/results}
parts=" ${*:-transfer limited repeat whole slack prefill} "
mkdir -p "$out"
wants() { [[ $parts == *" $1 "* ]]; }
decode() { $nosa bench decode --json --quiet --backend cuda "$@"; }

if wants transfer; then
  $nosa bench transfer --json > "$out/gpu-transfer.json"
fi

# 24 GiB of GPU memory in all: how many sequences go on, and how fast, against full attention and the in-line schedule.
made_up=(--locality 0.944 --infllm2-locality 0.889 --reuse stack)
limited=(--model random:8b --gpu-memory 24GiB --tokens 256 "${made_up[@]}")
if wants limited; then
  decode "${limited[@]}" --context 16384,32768,65536 --batch 0 --mode nosa,infllm2 --slack 1,1.5 > "$out/gpu-decode-24gib.json"
  decode "${limited[@]}" --context 16384,32768,65536 --batch 0 --mode full > "$out/gpu-decode-24gib-full.json"
  # The in-line schedule at the batches the overlapped one reaches with half as many slots again.
  for context in 16384 32768 65536; do
    batch=$(python3 - "$out/gpu-decode-24gib.json" $context << 'EOF'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
print([r["batch"] for r in rows if r["mode"] == "nosa" and r["context"] == int(sys.argv[2]) and r["slack"] == 1.5][0])
EOF
    )
    decode "${limited[@]}" --context "$context" --batch "$batch" --mode inline > "$out/gpu-decode-24gib-inline-$context.json"
  done
fi

# One row again, three times: how far apart runs of the same are.
if wants repeat; then
  for run in 1 2 3; do
    decode "${limited[@]}" --context 65536 --batch 0 --mode nosa --slack 1.5 > "$out/gpu-repeat-$run.json"
  done
fi

# All of the GPU's memory, from one sequence on.
if wants whole; then
  decode --model random:8b --tokens 128 "${made_up[@]}" --context 16384,65536 --batch 1,8,32,64,0 --mode nosa,resident,full --slack 1.5 > "$out/gpu-decode-whole.json"
fi

# What slots beyond the selection are worth: made-up selections, and recorded ones of nosa-21m reading this
# repository's documents.
if wants slack; then
  slacks=1,1.25,1.5,2,3
  decode --model random:8b --tokens 128 --context 65536 --batch 24 --slack $slacks --locality 0.944 --reuse uniform > "$out/gpu-slack-uniform.json"
  decode --model random:8b --tokens 128 --context 65536 --batch 24 --slack $slacks --locality 0.944 --reuse stack > "$out/gpu-slack-stack.json"
  trace=${TRACE:-}
  if [[ -z $trace ]]; then
    trace=$(mktemp)
    head -c 26000 < <(cat docs/nosa.md docs/MAP.md docs/recipes/*.md 2> /dev/null) > "$trace.txt"
    $nosa trace --quiet --model models/nosa-21m --prompt-file "$trace.txt" --last 512 --out "$trace"
  fi
  decode --model models/nosa-21m --tokens 128 --context 12288 --batch 128 --slack $slacks --trace "$trace" > "$out/gpu-slack-recorded.json"
fi

if wants prefill; then
  $nosa bench prefill --json --quiet --backend cuda --model random:8b --context 8192,16384,32768 > "$out/gpu-prefill.json"
fi

if wants prefill && python3 -c 'import torch' 2> /dev/null; then
  python3 bench/sdpa_reference.py > "$out/gpu-sdpa-reference.json"
fi
if wants prefill; then
  $nosa bench ops --json --backend cuda > "$out/gpu-ops.json"
fi
ls "$out"/gpu-*.json
