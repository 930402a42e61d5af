#!/usr/bin/env bash
# All that a GPU gives, on a bare machine with CUDA and Python: bash benchmarks/gpu.sh [OUT], from the project's folder.
# Installs into OUT/venv (or takes VENV), holds the network on the GPU to the published numbers, and runs benchmarks/gpu.py and
# a search of FILMS films (a million). DEVICE=cpu VIDEOS=40 FILMS=2000 tries the script itself where there is no GPU.
set -euo pipefail
out=${1:-gpu-out} device=${DEVICE:-cuda}
mkdir -p "$out"
venv=${VENV:-$out/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
[ -n "${VENV:-}" ] || "$venv/bin/pip" install --quiet -c constraints.txt -e '.[films,search,train,web,dev]'
GMMFORMER_TEST_DEVICE=$device "$venv/bin/pytest" -q tests/model -k published 2>&1 | tee "$out/parity.txt"
"$venv/bin/python" benchmarks/gpu.py "$out" --device "$device" ${VIDEOS:+--videos "$VIDEOS"} | tee "$out/gpu.txt"
"$venv/bin/python" benchmarks/search.py "$out/run" "$out" tvr --videos "${FILMS:-1000000}" --engines exact --queries 100 | tee "$out/search.txt"
echo "written: $out/table.md, parity.txt, search.txt"
