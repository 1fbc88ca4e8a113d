#!/usr/bin/env bash
# Runs clang-tidy over the C++ files that differ from main (on main: from the commit before), with the compile
# commands of build/<preset>. Begins no further file after MILLRACE_TIDY_SECONDS (100) and says how many it left.
# Exits with 77 when clang-tidy or the compile commands are not there.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/${MILLRACE_PRESET:-release}
tidy=$(command -v clang-tidy-14 || command -v clang-tidy) || {
  echo "skipped: clang-tidy-14 is not installed; deploy/install-deps.sh --tests installs it"
  exit 77
}
if [ ! -f "$build/compile_commands.json" ]; then
  echo "skipped: $build has no compile commands; run cmake --preset ${MILLRACE_PRESET:-release}"
  exit 77
fi

base=
for main in origin/main main; do
  base=$(git merge-base "$main" HEAD 2>/dev/null) && [ "$base" != "$(git rev-parse HEAD)" ] && break
  base=
done
[ -n "$base" ] || base=$(git rev-parse --quiet --verify HEAD~1) || {
  echo "skipped: there is no commit to compare with"
  exit 77
}
mapfile -t files < <({ git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files --others --exclude-standard -- '*.cc'; } | sort -u)
if [ "${#files[@]}" = 0 ]; then
  echo "no C++ file differs from $base"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
deadline=$(($(date +%s) + ${MILLRACE_TIDY_SECONDS:-100}))
# shellcheck disable=SC2016  # the inner shell expands them
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
  tidy=$1 build=$2 deadline=$3 work=$4 file=$5
  name=$work/${file//\//_}
  if [ "$(date +%s)" -ge "$deadline" ]; then
    touch "$name.left"
  elif ! "$tidy" -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option "$file" >"$name.log" 2>"$name.errors"; then
    touch "$name.bad"
    grep -vE "^[0-9]+ warnings? " "$name.log" || cat "$name.errors"
  fi' bash "$tidy" "$build" "$deadline" "$work"

count() { find "$work" -name "*.$1" | wc -l; }
echo "clang-tidy: ${#files[@]} files differ from $(git rev-parse --short "$base"), $(count bad) at fault, $(count left) not looked at for want of time"
[ "$(count bad)" = 0 ]
