#!/usr/bin/env bash
# Starts and stops a private PostgreSQL: its own cluster below DIR, fsync on, listening on 127.0.0.1:PORT
# only (a socket's path would be too long in a deep DIR). As root the server runs as user postgres; where that
# user cannot reach DIR (below /root, say) the cluster is in /var/lib/postgresql and DIR/data links to it.
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
    if [ "$(id -u)" = 0 ]; then
      chown postgres "$dir"
      if [ ! -e "$dir/data" ] && ! as_server test -x "$dir"; then
        ln -sfn "$(as_server mktemp -d /var/lib/postgresql/millrace.XXXXXX)" "$dir/data"
      fi
    fi
    data=$(realpath -m "$dir/data")
    if [ ! -f "$data/PG_VERSION" ]; then
      as_server "$bin/initdb" -D "$data" -U millrace -A trust -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; exit 1; }
    fi
    as_server "$bin/pg_ctl" -D "$data" -l "$data/server.log" -w -t 60 \
      -o "-p $port -h 127.0.0.1 -k '' -c fsync=on" start >/dev/null ||
      { tail -n 20 "$data/server.log" >&2; exit 1; }
    echo "host=127.0.0.1 port=$port user=millrace dbname=postgres"
    ;;
  stop)
    data=$(realpath -m "$dir/data")
    [ -f "$data/postmaster.pid" ] || exit 0
    as_server "$bin/pg_ctl" -D "$data" -m fast -w stop >/dev/null
    ;;
  *) usage ;;
esac
