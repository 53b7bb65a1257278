#!/usr/bin/env bash
# Installs LlamaIndex into a virtual environment of its own, for the tests marked `llamaindex`: its OpenAI package asks
# for a client before version 3, and SAGE's tests use the client of version 3.
#
#   tests/llamaindex/install.sh [FOLDER]          FOLDER defaults to .sage/llamaindex-venv
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${1:-$here/../../.sage/llamaindex-venv}"

if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet -r "$here/requirements.txt"
