#!/usr/bin/env bash
# Builds quickjs.wasm, or the file that is given as argument: QuickJS-ng with engine.c and prelude.js. It needs the
# packages clang-19, lld-19, wasi-libc and libclang-rt-19-dev-wasm32 of Debian, and cargo, which downloads the source of
# QuickJS-ng as a part of the crate rquickjs-sys. The same input gives the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
to=$(realpath "${1:-quickjs.wasm}")
version=0.14.0
checksum=cee271d0eeba64f0915b846cb7ae02e16faf3dfdffdca91731101d9d30fe3423

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source"
touch "$work/source/lib.rs"
cat >"$work/source/Cargo.toml" <<END
[package]
name = "quickjs-source"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
rquickjs-sys = "=$version"
END
cargo vendor --quiet --manifest-path "$work/source/Cargo.toml" "$work/vendor" >/dev/null
grep --quiet "\"package\":\"$checksum\"" "$work/vendor/rquickjs-sys/.cargo-checksum.json" || {
  echo "rquickjs-sys $version has another checksum than build.sh expects" >&2
  exit 1
}
quickjs=$work/vendor/rquickjs-sys/quickjs

# The prelude as a text of C.
{
  printf 'static const char PRELUDE[] =\n'
  sed -e 's/^[[:space:]]*\/\/.*$//' -e 's/^[[:space:]]*//' -e '/^$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^.*$/"&\\n"/' prelude.js
  printf ';\n'
} >"$work/prelude.h"

flags=(--target=wasm32-wasi -Os -DNDEBUG -D_GNU_SOURCE -D_WASI_EMULATED_SIGNAL "-I$quickjs" "-I$work" "-ffile-prefix-map=$work=."
  -Wno-everything -mbulk-memory -mnontrapping-fptoint)
objects=()
for source in quickjs dtoa libregexp libunicode; do
  clang-19 "${flags[@]}" -c "$quickjs/$source.c" -o "$work/$source.o"
  objects+=("$work/$source.o")
done
clang-19 "${flags[@]}" -Wall -Wno-trigraphs -c engine.c -o "$work/engine.o"
clang-19 --target=wasm32-wasi -mexec-model=reactor "$work/engine.o" "${objects[@]}" -o "$to" \
  -Wl,-z,stack-size=1048576 -Wl,--stack-first -Wl,--strip-all -lwasi-emulated-signal
