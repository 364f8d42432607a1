#!/bin/bash
# Tests nosa with what people use beside it: tokenizers, OpenAI's Python package, lm-evaluation-harness, from PyPI, in a
# virtual environment of their own. usage: tools/test_clients.sh [preset]   (default: release)
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
venv=build/clients/venv
wanted=tests/clients/requirements.txt

cmake --preset "$preset" > /dev/null
cmake --build --preset "$preset" --target nosa -j "${JOBS:-$(nproc)}"

if ! cmp -s "$wanted" build/clients/installed.txt; then
  mkdir -p build/clients
  # The environment needs nothing but Python itself: pip comes with its module venv.
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
  cp "$wanted" build/clients/installed.txt
fi

failed=0
for suite in tokenizer_test openai_test lm_eval_test; do
  echo "== $suite"
  # Nothing is fetched while testing.
  TQDM_DISABLE=1 HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME=$PWD/build/clients/huggingface \
    "$venv/bin/python" "tests/clients/$suite.py" "build/$preset/nosa" models/nosa-21m || failed=1
done
exit "$failed"
