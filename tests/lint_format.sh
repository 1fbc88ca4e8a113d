#!/usr/bin/env bash
# C++ files that clang-format would change, and what it would change in them. `--fix` changes them.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$(command -v clang-format-14 || command -v clang-format) || {
  echo "clang-format-14 is not installed; deploy/install-deps.sh --tests installs it" >&2
  exit 1
}
mapfile -t files < <(git ls-files '*.cc' '*.h')
if [ "${1:-}" = --fix ]; then
  "$tool" -i "${files[@]}"
else
  "$tool" --dry-run --Werror "${files[@]}"
fi
