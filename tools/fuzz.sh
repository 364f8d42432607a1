#!/bin/bash
# Builds the fuzz targets with clang and runs each for a short while. Finds are kept in build/fuzz/corpus, a
# crash in build/fuzz/crashes; seeds come from tests/fuzz/seeds/<target>/.
# usage: tools/fuzz.sh [seconds per target]   (default: 20)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}

cmake --preset fuzz > /dev/null
cmake --build --preset fuzz -j "${JOBS:-$(nproc)}"
for source in tests/fuzz/*_fuzz.cc; do
  [[ -e $source ]] || { echo "no fuzz targets"; exit 0; }
  target=$(basename "$source" .cc)
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus" build/fuzz/crashes
  inputs=("$corpus")
  if [[ -d tests/fuzz/seeds/$target ]]; then inputs+=("tests/fuzz/seeds/$target"); fi
  echo "== $target, $seconds s"
  # A bounded parser needs no more than this; libFuzzer's own defaults would hide a 2 GB allocation.
  "build/fuzz/tests/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/crashes/$target-" "${inputs[@]}" < /dev/null
done
