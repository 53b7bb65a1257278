#!/bin/sh
# Builds the fuzz targets with each sanitizer and runs them: checks/run.sh [SECONDS] [BUILD_FOLDER].
# With clang it is libFuzzer that looks for inputs, else random ones are taken. The AVX-512 code is run emulated where
# SIMDe is installed (Debian: libsimde-dev), so that any processor can test it.
set -eu
seconds=${1:-60}
source=$(cd "$(dirname "$0")/.." && pwd)
build=${2:-$source/build/checks}
clang=$(command -v clang++ || command -v clang++-14 || true)
emulate=OFF
echo '#include <simde/x86/avx512.h>' | c++ -x c++ -fsyntax-only - 2>/dev/null && emulate=ON

configure_and_build() { # NAME SANITIZERS [CMAKE_OPTION...]
  name=$1 sanitizers=$2
  shift 2
  cmake -S "$source" -B "$build/$name" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSAGE_PYTHON=OFF -DSAGE_CHECKS=ON \
    -DSAGE_EMULATE_AVX512=$emulate -DSAGE_SANITIZE="$sanitizers" "$@" >/dev/null
  cmake --build "$build/$name" -j "$(nproc)" >/dev/null
}

if [ -n "$clang" ]; then
  configure_and_build fuzz fuzzer-no-link,address,undefined -DCMAKE_CXX_COMPILER="$clang"
else
  configure_and_build address address,undefined
fi
configure_and_build thread thread
for target in scan features; do
  if [ -n "$clang" ]; then
    echo "$target: libFuzzer, address and undefined-behaviour sanitizers, $seconds s"
    mkdir -p "$build/corpus/$target"
    "$build/fuzz/${target}_target" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
      -artifact_prefix="$build/" "$build/corpus/$target"
  else
    echo "$target: random inputs, address and undefined-behaviour sanitizers, $seconds s"
    "$build/address/${target}_target" "$seconds"
  fi
  echo "$target: random inputs, thread sanitizer, $seconds s"
  "$build/thread/${target}_target" "$seconds"
done
