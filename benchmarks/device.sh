#!/usr/bin/env bash
# All there is to find out on a machine with an NVIDIA GPU: one command, eight minutes at most.
#
#   OUT=folder benchmarks/device.sh              on the GPU
#   OUT=folder benchmarks/device.sh --rehearse   the same parts in small, on the CPU
#
# Nothing is installed and nothing fetched: Python with NumPy, CuPy and pytest must be there ($PYTHON names it), and
# PyTorch for its part. What is found is written to $OUT as soon as it is found, so that a run that is cut off leaves all
# that it had: results.jsonl, one result a line; log.txt, the rest; gpu.md, the table; tests.txt; kernels.tar.gz, the
# compiled kernels, which the next run need not compile again if $KERNELS names that file.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=$(realpath "${OUT:-minires-out/device}")
mkdir -p "$OUT"
python=${PYTHON:-python3}
rehearse=${1:-}
case "$rehearse" in
    "") patience=1 ;;
    --rehearse) patience=5 ;; # g++ compiles more slowly, and what runs then is emulated
    *) echo "device.sh: got $rehearse; expected --rehearse or nothing" >&2; exit 2 ;;
esac
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
if [ -z "$rehearse" ]; then
    CUPY_CACHE_DIR=$(mktemp -d)
    export CUPY_CACHE_DIR
    trap 'rm -rf "$CUPY_CACHE_DIR"' EXIT
    if [ -n "${KERNELS:-}" ]; then tar -xzf "$KERNELS" -C "$CUPY_CACHE_DIR"; fi
fi
failures=0

# part NAME SECONDS COMMAND…: its stdout, one result a line, goes to results.jsonl, its stderr to log.txt.
part() {
    local name=$1 limit=$(($2 * patience)) start=$SECONDS status=0 ended
    shift 2
    echo "=== $name (at $start s, at most $limit s)" | tee -a "$OUT/log.txt"
    timeout --kill-after=3 "$limit" "$@" >>"$OUT/results.jsonl" 2>>"$OUT/log.txt" || status=$?
    case "$status" in
        0) ended="done" ;;
        124 | 137) ended="cut off" ;;
        *) ended="failed with status $status, see log.txt" ;;
    esac
    printf '\n{"kind": "part", "part": "%s", "ended": "%s", "seconds": %d}\n' "$name" "$ended" $((SECONDS - start)) |
        tee -a "$OUT/results.jsonl" | tail -n 1
    if [ "$status" != 0 ]; then
        failures=$((failures + 1))
        tail -n 3 "$OUT/log.txt"
    fi
    return "$status"
}
ours() { part "$1" "$2" "$python" benchmarks/workers/gpu_minires.py "$1" $rehearse; }
theirs() {
    if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
        part "PyTorch's $1" "$2" "$python" benchmarks/workers/gpu_torch.py "$1" $rehearse
    else
        echo "=== PyTorch's $1: PyTorch is not installed" | tee -a "$OUT/log.txt"
    fi
}
tests() { # what they print goes to a file of its own
    "$python" -m pytest -o addopts= --import-mode=importlib -p no:cacheprovider -m gpu -W default -rfE tests/gpu \
        >"$OUT/tests.txt" 2>&1
    local status=$?
    tail -n 1 "$OUT/tests.txt" >&2
    return "$status"
}
export -f tests
export python OUT

nvidia-smi >>"$OUT/log.txt" 2>&1
ours versions 15 || exit
theirs versions 15
ours compile 70
ours compare 30
part tests 75 bash -c tests
ours steps 60
theirs steps 60
ours kernels 50
theirs kernels 40
ours large 30
theirs large 25
if [ -z "$rehearse" ]; then tar -czf "$OUT/kernels.tar.gz" -C "$CUPY_CACHE_DIR" .; fi
"$python" -m benchmarks.gpu "$OUT/results.jsonl" >"$OUT/gpu.md" && cat "$OUT/gpu.md"
[ "$failures" = 0 ]
