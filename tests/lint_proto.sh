#!/usr/bin/env bash
# Runs buf lint over the .proto files, by the rules in proto/buf.yaml. Exits with 77 when buf cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.75.0
folder=${MILLRACE_TOOLS_DIR:-build/tools}/buf-$version
buf=$folder/node_modules/.bin/buf
if [ ! -x "$buf" ]; then
  if ! command -v npm >/dev/null; then
    echo "skipped: npm, which brings buf, is not installed; deploy/install-deps.sh --tests installs it"
    exit 77
  fi
  mkdir -p "$folder"
  if ! npm install --silent --no-audit --no-fund --prefix "$folder" "@bufbuild/buf@$version" >"$folder/install.log" 2>&1; then
    echo "skipped: npm could not fetch @bufbuild/buf $version: $(tail -n 1 "$folder/install.log")"
    exit 77
  fi
fi
"$buf" lint proto
