#!/usr/bin/env bash
# Installs what Millrace needs on a bare Debian 12: build and run by default, with `--tests` also what
# the tests start (PostgreSQL, Kafka's Java, Python and Node.js for SDKs). Safe to run again; asks the
# network only for what is missing. Tools that are on the PATH already (a Node.js, Java or Maven that is
# not Debian's) are used as they are.
set -euo pipefail

quickjs_version=0.17.0.2
quickjs_sha256=43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef
quickjs_dir=${MILLRACE_QUICKJS_DIR:-/usr/local/src/quickjs-ng-$quickjs_version}

with_tests=0
for argument in "$@"; do
  case "$argument" in
    --tests) with_tests=1 ;;
    -h | --help)
      echo "usage: $0 [--tests]"
      exit 0
      ;;
    *)
      echo "$0: unknown argument '$argument'; usage: $0 [--tests]" >&2
      exit 2
      ;;
  esac
done

packages=(
  build-essential ca-certificates ccache cmake curl mold ninja-build pkg-config python3 python3-venv
  catch2 libabsl-dev libboost-dev libc-ares-dev libcli11-dev libcpprest-dev libcurl4-openssl-dev libfmt-dev
  libgrpc++-dev libmaxminddb-dev libpq-dev libprotobuf-dev libre2-dev librdkafka-dev librocksdb-dev
  libseccomp-dev libsimdjson-dev libspdlog-dev libsqlite3-dev libssl-dev libyaml-cpp-dev
  nlohmann-json3-dev prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc rapidjson-dev
  zlib1g-dev postgresql
)
if [ "$with_tests" = 1 ]; then
  packages+=(clang-format-14 clang-tidy-14 faketime git iproute2 prometheus procps shellcheck zstd)
  command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || packages+=(maven)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
fi

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "$0: '$*' needs root; run it as root or install sudo" >&2
    exit 1
  fi
}

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "Installing ${#missing[@]} Debian packages"
  # The PostgreSQL package would start a cluster of its own; Millrace's scripts make theirs.
  as_root mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" |
    as_root tee /etc/postgresql-common/createcluster.d/millrace.conf >/dev/null
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# QuickJS-ng's sources come from its PyPI source distribution, pinned by version and checksum.
if [ ! -f "$quickjs_dir/quickjs.c" ]; then
  echo "Fetching QuickJS-ng $quickjs_version"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" download -q --no-deps --no-binary :all: --no-build-isolation \
    -d "$work" "quickjs-ng==$quickjs_version" >/dev/null 2>&1 ||
    "$work/venv/bin/pip" download -q --no-deps --no-binary :all: -d "$work" "quickjs-ng==$quickjs_version"
  archive=$work/quickjs_ng-$quickjs_version.tar.gz
  echo "$quickjs_sha256  $archive" | sha256sum -c --quiet -
  tar -xzf "$archive" -C "$work"
  as_root mkdir -p "$quickjs_dir"
  as_root cp -r "$work/quickjs_ng-$quickjs_version/upstream-quickjs/." "$quickjs_dir/"
  as_root cp "$work/quickjs_ng-$quickjs_version/LICENSE" "$quickjs_dir/LICENSE.python-binding"
fi
