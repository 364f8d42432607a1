#!/bin/bash
# Runs the load tests behind docs/server.md and writes their JSON to bench/results/: some 20 minutes. Leave the machine
# alone meanwhile.
# usage: bench/serve.sh [directory for offloaded KV]   (default: the system's temporary directory)
set -euo pipefail
cd "$(dirname "$0")/.."
disk=${1:-${TMPDIR:-/tmp}}
out=bench/results
mkdir -p "$out"
serve="build/release/nosa bench serve --json --model models/nosa-21m --kv-disk $disk"
load="--prompt-tokens 64:4096 --max-tokens 64 --shared-prefix 512 --prefix-groups 4 --kv-host 64MiB"

# 64 MiB of RAM hold three of the longest requests.
$serve $load --rate 0.5,1,2,4 --warm-up 4 --duration 20 > "$out/cpu-serve.json"
# 144 MiB of RAM hold two conversations of 16,384 tokens.
$serve --conversations 16K --offered 24 --max-tokens 1024 --kv-host 144MiB --hold 4 > "$out/cpu-serve-conversations.json"
# Whether memory stays flat with more to do than can be done: of the server alone, so its clients are another process.
log=$(mktemp)
build/release/nosa serve --model models/nosa-21m --kv-host 64MiB --kv-disk "$disk" --port 0 --quiet > "$log" &
server=$!
trap 'kill $server' EXIT
until grep -q ready "$log"; do sleep 0.1; done
url=$(grep -o 'http://[^ ]*' "$log")
build/release/nosa bench serve --json --url "$url" --prompt-tokens 64:4096 --max-tokens 64 --shared-prefix 512 --prefix-groups 4 \
  --concurrency 32 --warm-up 60 --duration 600 > "$out/cpu-serve-flat.json"
echo "wrote $(ls $out/cpu-serve*.json | wc -l) files to $out"
