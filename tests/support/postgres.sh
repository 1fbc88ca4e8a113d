#!/usr/bin/env bash
# Starts and stops a private PostgreSQL for tests: its own cluster below DIR, fsync on, listening on
# 127.0.0.1:PORT and a socket in DIR. As root the server runs as user postgres.
#   postgres.sh start DIR PORT   prints the libpq conninfo
#   postgres.sh stop DIR
set -euo pipefail

usage() {
  echo "usage: $0 start DIR PORT | $0 stop DIR" >&2
  exit 2
}

[ $# -ge 2 ] || usage
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || { echo "$0: no PostgreSQL server below /usr/lib/postgresql (apt-get install postgresql)" >&2; exit 1; }

as_server() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && exec runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

case $action in
  start)
    [ $# = 3 ] || usage
    port=$3
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
    if [ ! -f "$dir/data/PG_VERSION" ]; then
      as_server "$bin/initdb" -D "$dir/data" -U millrace -A trust -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; exit 1; }
    fi
    as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 60 \
      -o "-p $port -h 127.0.0.1 -k $dir -c fsync=on" start >/dev/null ||
      { tail -n 20 "$dir/data/server.log" >&2; exit 1; }
    echo "host=127.0.0.1 port=$port user=millrace dbname=postgres"
    ;;
  stop)
    [ -f "$dir/data/postmaster.pid" ] || exit 0
    as_server "$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null
    ;;
  *) usage ;;
esac
