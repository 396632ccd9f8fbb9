#!/usr/bin/env bash
# Fuzz the C++ kernels: scripts/fuzz_kernels.sh [address|thread] [SECONDS] [SEED]
#
# address: AddressSanitizer and UndefinedBehaviorSanitizer, with libFuzzer over the corpus in
#          build/fuzz-address/found where clang has it (on Debian: apt install clang libclang-rt-dev),
#          else with a program that draws its own inputs.
# thread:  ThreadSanitizer, inputs drawn.
# CXX chooses the compiler.  What is found stops the run, and libFuzzer leaves the input behind.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-address} seconds=${2:-60} seed=${3:-1}
build=build/fuzz-$kind
mkdir -p "$build"

cxx=${CXX:-}
if [[ -z $cxx ]]; then
  for cxx in clang++ clang++-22 clang++-19 clang++-16 clang++-14 g++; do
    command -v "$cxx" >/dev/null && break
  done
fi
flags=(-std=c++17 -O1 -g -ffp-contract=off -fno-math-errno -fno-omit-frame-pointer -MMD -MP -Icsrc -Itests/fuzz -pthread)
driver=(-DFASTFACE_FUZZ_MAIN)
case $kind in
  address)
    flags+=(-fsanitize=address,undefined -fno-sanitize-recover=all)
    if echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
      "$cxx" -x c++ -fsanitize=fuzzer - -o "$build/probe" 2>/dev/null; then
      driver=(-fsanitize=fuzzer)
      flags+=(-fsanitize=fuzzer-no-link)
    fi ;;
  thread) flags+=(-fsanitize=thread) ;;
  *) echo "address or thread, not $kind" >&2; exit 2 ;;
esac

avx512="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512"
sources=(csrc/{search_nearest,search_radius,sweep,screen,panels,pairwise,lloyd,group_panels,lifts}.cpp
  csrc/{pruned_block,pruning,seeding,parallel}.cpp csrc/people/*.cpp
  csrc/faces/{hog,resample,warp}.cpp csrc/cpu/dispatch.cpp csrc/cpu/isa/*.cpp)
{
  echo "all: $build/fuzz"
  objects=()
  for source in "${sources[@]}"; do
    object=$build/$(echo "${source#csrc/}" | tr / _).o
    objects+=("$object")
    extra=
    if [[ $(uname -m) == x86_64 ]]; then
      case $source in
        *avx2.cpp) extra="-mavx2 -mfma -mf16c" ;;
        *vnni.cpp) extra="$avx512 -mavx512vnni" ;;
        *avx512.cpp) extra=$avx512 ;;
      esac
    fi
    printf '%s: %s\n\t%s %s %s -c $< -o $@\n' "$object" "$source" "$cxx" "${flags[*]}" "$extra"
  done
  printf '%s/fuzz: tests/fuzz/kernels.cpp %s\n\t%s %s %s $(filter %%.cpp %%.o,$^) -o $@\n' \
    "$build" "${objects[*]}" "$cxx" "${flags[*]}" "${driver[*]}"
  echo "-include $build/*.d"
} >"$build/Makefile"
make -s -f "$build/Makefile" -j2

if [[ ${driver[0]} == -fsanitize=fuzzer ]]; then
  mkdir -p "$build/found"
  "$build/fuzz" -max_total_time="$seconds" -seed="$seed" -max_len=400 -print_final_stats=1 \
    -artifact_prefix="$build/found/" "$build/found"
else
  "$build/fuzz" "$seconds" "$seed"
fi
