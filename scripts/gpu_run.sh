#!/usr/bin/env bash
# Measures PyTorch on this machine's NVIDIA GPU, without network: verdicts with the shipped model, cost with a
# random-weight model of Qwen2.5-0.5B's shape that is built here. Results and pages go to reports/<device>/.
# A second call measures again and replaces what it measures; the model is built once.
#
#   PYTHON=python3      interpreter with torch and transformers
#   HARNESS=…           interpreter with the harness's dependencies (default: .venv's if there, else PYTHON)
#   STEPS="matrix energy"    what to do
#   K="…"               pytest -k expression: only these cells are judged
#   ENERGY_K="…"        only these cells' cost is measured (default: a few that say most; "" for all that passed)
#   WINDOW, REPEATS, IDLE    seconds, rounds and seconds of the measuring mode (default: its own)
#   OUT=folder          instead of reports/<device>
#   DEVICE=cpu          a try without a GPU, into .cache/gpu-run-cpu
#   LAYERS, VOCABULARY  a smaller random model, for tries
set -euo pipefail
# paths are meant from where the user stands; links stay, because a virtual environment lives by them
for name in PYTHON HARNESS OUT; do
  case ${!name:-} in */*) printf -v "$name" %s "$(realpath -s -m "${!name}")" ;; esac
done
cd "$(dirname "$0")/.."

fail() {
  echo "gpu_run: $*" >&2
  exit 2
}

PYTHON=${PYTHON:-python3}
if [ -z "${HARNESS:-}" ]; then
  HARNESS=$PYTHON
  if [ -x .venv/bin/python ]; then HARNESS=.venv/bin/python; fi
fi
STEPS=${STEPS:-matrix energy}
ENERGY_K=${ENERGY_K-fp_precision or batch_size or attn_implementation or use_cache or load_in_4bit}
MODEL=models/tiny
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONUNBUFFERED=1

python=$(command -v "$PYTHON") || fail "PYTHON=$PYTHON: no such interpreter"
command -v "$HARNESS" >/dev/null || fail "HARNESS=$HARNESS: no such interpreter"
export PARAMATRIX_LAUNCHER_PYTORCH=$python
for step in $STEPS; do
  case $step in matrix | energy) ;; *) fail "STEPS=$STEPS: expected some of matrix, energy; got $step" ;; esac
done
"$HARNESS" -c "import harness.cli" || fail "$HARNESS cannot import the harness: install what pyproject.toml depends on"

# the first GPU's name, "cpu" without one
seen=$("$PYTHON" -c "
import torch, transformers
print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'cpu')
") || fail "$PYTHON cannot import torch and transformers"
seen=${seen##*$'\n'}
if [ "${DEVICE:-}" = cpu ]; then
  export CUDA_VISIBLE_DEVICES=
  OUT=${OUT:-.cache/gpu-run-cpu}
  seen=cpu
elif [ "$seen" = cpu ]; then
  fail "$PYTHON sees no GPU (torch.cuda.is_available() is False). DEVICE=cpu tries the script without one."
fi
slug=$(printf %s "$seen" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/^-*//; s/-*$//')
OUT=${OUT:-reports/$slug}
mkdir -p "$OUT"
results=$OUT/results.jsonl
echo "gpu_run: $seen, into $OUT"

# shellcheck disable=SC2329 # called through timed
paramatrix() { "$HARNESS" -c "from harness.cli import main; main()" "$@"; }

status=0
timed() {
  local name=$1 began=$SECONDS code=0
  shift
  echo "gpu_run: $name"
  "$@" || code=$?
  echo "gpu_run: $name took $((SECONDS - began)) s, exit $code"
  [ "$code" = 0 ] || status=$code
}

for step in $STEPS; do
  if [ "$step" = matrix ]; then
    timed matrix paramatrix run --backends pytorch --model "$MODEL" --results "$results" ${K:+-k "$K"}
    continue
  fi
  [ -e "$results" ] || fail "$results: no verdicts to measure the cost of. Let STEPS begin with matrix."
  random=.cache/random-qwen2.5-0.5b${LAYERS:+-$LAYERS}${VOCABULARY:+-$VOCABULARY}
  timed "random model" "$PYTHON" scripts/make_random_model.py "$random" \
    ${LAYERS:+--layers "$LAYERS"} ${VOCABULARY:+--vocabulary "$VOCABULARY"}
  [ -e "$random/config.json" ] || fail "$random was not built"
  timed energy paramatrix energy --backends pytorch --model "$random" --results "$results" \
    ${ENERGY_K:+-k "$ENERGY_K"} ${WINDOW:+--window "$WINDOW"} ${REPEATS:+--repeats "$REPEATS"} ${IDLE:+--idle "$IDLE"}
  timed pages paramatrix report --results "$results"
done

echo "gpu_run: $SECONDS s in all, exit $status"
for file in "$OUT"/*; do echo "  $file  $(wc -c <"$file") bytes"; done
exit "$status"
