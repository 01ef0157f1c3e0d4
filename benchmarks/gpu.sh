#!/usr/bin/env bash
# Checks vLLM on a GPU server and measures it against its own server; prints a report and writes it to $OUT.
#
#   VLLM_PYTHON  interpreter of an environment with vLLM for GPUs; without it, one is installed (minutes)
#   MODEL        folder of the real model, such as Qwen3.6-35B-A3B-FP8; without it, only small models are tried
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

say() { printf '%s\n' "$*" | tee -a "$REPORT"; }
left() { echo $((DEADLINE - SECONDS)); }

# Runs a check within its seconds, and within what is left; its output goes into a file of its own.
check() {
  local name=$1 limit=$2
  shift 2
  [ "$(left)" -lt 20 ] && { say "| $name | not run: no time left | |"; return; }
  [ "$limit" -gt "$(left)" ] && limit=$(left)
  local begun=$SECONDS code=0
  timeout "$limit" "$@" >"$OUT/$name.log" 2>&1 || code=$?
  local verdict=passed
  [ "$code" -eq 124 ] && verdict="stopped after $limit s"
  [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && verdict="failed with code $code"
  say "| $name | $verdict | $((SECONDS - begun)) s |"
  tail -n 3 "$OUT/$name.log" | sed 's/^/    /' >>"$OUT/tails.txt"
}

say "# vLLM on $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo 'no GPU')"
say
say "| check | result | time |"
say "|---|---|---|"
if [ -z "${VLLM_PYTHON:-}" ]; then
  check install 600 env XDG_DATA_HOME="$PWD/.vllm" "$PYTHON" -m tessera engines install vllm
  VLLM_PYTHON=$PWD/.vllm/tessera/engines/vllm/bin/python
fi
export VLLM_PYTHON
# Linked, so that the engine's process runs this checkout.
check versions 60 env PYTHONPATH=src "$VLLM_PYTHON" -P -m tessera.engine.vllm.probe
check contract-f32 240 "$PYTHON" -m pytest -m "vllm and not full" tests/conformance/engines
check engine-f32 240 "$PYTHON" -m pytest -m "vllm and not full" tests/live/test_vllm.py
check random-model 120 "$PYTHON" -m pytest -m "vllm and not full" tests/live/test_random_model.py
if [ -n "${MODEL:-}" ] && [ -d "$MODEL" ]; then
  common=(--model "$MODEL" --python "$VLLM_PYTHON" --tool-parser qwen3_coder --context-tokens 32768)
  check cases 240 "$PYTHON" -m benchmarks.vllm "${common[@]}" --streams 16 --cases 60
  check speed 400 "$PYTHON" -m benchmarks.vllm "${common[@]}" --rounds 3 \
    --json "$OUT/vllm.json" --svg "$OUT/vllm.svg"
else
  say "| real model | not run: MODEL names no folder | |"
fi
say
say '```'
cat "$OUT"/cases.log "$OUT"/speed.log 2>/dev/null | tail -n 60 | tee -a "$REPORT"
say '```'
