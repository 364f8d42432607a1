#!/bin/bash
# Runs the benchmarks behind docs/performance.md and writes their JSON to bench/results/. Leave the machine alone meanwhile.
# usage: bench/run.sh [directory for offloaded KV]   (default: the system's temporary directory)
set -euo pipefail
cd "$(dirname "$0")/.."
nosa=build/release/nosa
model=models/nosa-21m
disk=${1:-${TMPDIR:-/tmp}}
out=bench/results
mkdir -p "$out"

$nosa bench ops --json > "$out/cpu-ops.json"
$nosa bench decode --json --model $model --context 4096,8192,16384,32768 --tokens 256 > "$out/cpu-decode-ram.json"
# An eighth of the 130 MiB of KV that 32,768 tokens take.
$nosa bench decode --json --quiet --model $model --context 32768 --tokens 256 --kv-host 16640KiB --kv-disk "$disk" > "$out/cpu-decode-disk.json"
$nosa bench decode --json --quiet --model $model --context 32768 --tokens 256 --kv-host 16640KiB --kv-disk "$disk" --kv-policy lru > "$out/cpu-decode-disk-lru.json"
$nosa bench decode --json --model random:1b --context 2048 --tokens 32 > "$out/cpu-decode-1b.json"
$nosa bench prefill --json --model $model --context 4096,16384,32000 > "$out/cpu-prefill.json"
text=$(mktemp)
cat docs/nosa.md docs/MAP.md docs/recipes/*.md docs/training.md docs/server.md > "$text"
/usr/bin/python3 tools/foresight --model $model --text "$text" --tokens 12288 --out "$out/foresight.json"
rm "$text"
echo "wrote $(ls $out/cpu-*.json | wc -l) files and foresight.json to $out"
