#!/usr/bin/env bash
# Checks vLLM on a GPU server and measures it against its own server; prints a report and writes it to $OUT.
# Ends with code 1 if a check failed.
#
#   VLLM_PYTHON  interpreter of an environment with vLLM for GPUs; without it, one is installed (minutes)
#   MODEL        folder of the real model, such as Qwen3.6-35B-A3B-FP8; without it, only small models are tried.
#                Ours and vLLM's server share the GPU: this checkpoint needs one with 141 GB
#   OUT          folder for the report; ./gpu-report without it
#   BUDGET_S     seconds for everything, 840 without it
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-$PWD/gpu-report}
DEADLINE=$((SECONDS + ${BUDGET_S:-840}))
PYTHON=${PYTHON:-.venv/bin/python}
mkdir -p "$OUT"
REPORT=$OUT/report.md
: >"$REPORT"
FAILED=()

say() { printf '%s\n' "$*" | tee -a "$REPORT"; }
left() { echo $((DEADLINE - SECONDS)); }

# Runs a check within its seconds, and within what is left; its output goes into a file of its own.
check() {
  local name=$1 limit=$2
  shift 2
  [ "$(left)" -lt 20 ] && { say "| $name | not run: no time left | |"; return; }
  [ "$limit" -gt "$(left)" ] && limit=$(left)
  local begun=$SECONDS code=0 verdict=passed
  # The interrupt lets pytest and the benchmark end the servers that they have started.
  timeout --signal INT --kill-after 20 "$limit" "$@" >"$OUT/$name.log" 2>&1 || code=$?
  [ "$code" -ne 0 ] && verdict="failed with code $code" && FAILED+=("$name")
  [ "$code" -eq 124 ] && verdict="stopped after $limit s"
  say "| $name | $verdict | $((SECONDS - begun)) s |"
}

# The end of what a check has written, if it was run.
show() {
  [ -f "$OUT/$1.log" ] || return
  say
  say "## $1"
  say
  say '```'
  tail -n "$2" "$OUT/$1.log" | tee -a "$REPORT"
  say '```'
}

finish() {
  for name in "${FAILED[@]}"; do show "$name" 40; done
  exit $((${#FAILED[@]} > 0))
}

rm -f "$OUT"/*.log
say "# vLLM on $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo 'no GPU')"
say
say "| check | result | time |"
say "|---|---|---|"
if [ -z "${VLLM_PYTHON:-}" ]; then
  check install 600 env XDG_DATA_HOME="$PWD/.vllm" "$PYTHON" -m tessera engines install vllm
  VLLM_PYTHON=$PWD/.vllm/tessera/engines/vllm/bin/python
fi
# With the path, the engine's process runs this checkout.
export VLLM_PYTHON PYTHONPATH=$PWD/src
check versions 90 "$VLLM_PYTHON" -P -m tessera.engine.vllm.probe
[ ${#FAILED[@]} -gt 0 ] && finish
check contract 240 "$PYTHON" -m pytest -m "vllm and not full" tests/conformance/engines
if [ -n "${MODEL:-}" ] && [ -d "$MODEL" ]; then
  check real-model 540 "$PYTHON" -m benchmarks.vllm --model "$MODEL" --python "$VLLM_PYTHON" \
    --tool-parser qwen3_coder --context-tokens 32768 --cases 60 --rounds 3 \
    --json "$OUT/vllm.json" --svg "$OUT/vllm.svg"
else
  say "| real-model | not run: MODEL names no folder | |"
fi
check engine 240 "$PYTHON" -m pytest -m "vllm and not full" tests/live/test_vllm.py
check random-model 120 "$PYTHON" -m pytest -m "vllm and not full" tests/live/test_random_model.py
show versions 1
show real-model 60
finish
