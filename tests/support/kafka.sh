#!/usr/bin/env bash
# A real Kafka broker for tests: one KRaft node, its jars fetched once by Maven.
#   kafka.sh install             fetch the jars only
#   kafka.sh start FOLDER PORT   format FOLDER, start a broker on 127.0.0.1:PORT, return when it answers
#   kafka.sh stop FOLDER         end it
# Needs Java 17 and, for the first run, Maven (deploy/install-deps.sh --tests installs both).
# MILLRACE_KAFKA_HEAP (256m) sets the broker's memory.
set -euo pipefail

version=4.1.0
cache=${MILLRACE_CACHE:-$HOME/.cache/millrace}/kafka
libs=$cache/libs-$version

install_jars() {
  [ -e "$libs/.complete" ] && return
  command -v mvn >/dev/null || {
    echo "kafka.sh: mvn is missing; run deploy/install-deps.sh --tests" >&2
    exit 1
  }
  local work
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>millrace</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version>
  </dependency></dependencies>
</project>
POM
  (cd "$work" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=libs)
  touch "$work/libs/.complete"
  rm -rf "$libs"
  mv "$work/libs" "$libs"
  rm -rf "$work"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Open is not enough: the broker must answer an ApiVersions request.
answers() {
  python3 - "$1" <<'PY' 2>/dev/null
import socket, struct, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1) as s:
    s.settimeout(2)
    body = struct.pack(">hhih", 18, 0, 7, -1)
    s.sendall(struct.pack(">i", len(body)) + body)
    reply = s.recv(10)
    sys.exit(0 if len(reply) == 10 and struct.unpack(">ih", reply[4:]) == (7, 0) else 1)
PY
}

start() {
  local folder=$1 port=$2 controller_port
  install_jars
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  controller_port=$(free_port)
  cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$folder/data
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
PROPERTIES
  if [ ! -e "$folder/data/meta.properties" ]; then
    java -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool \
      format -t MkU3OEVBNTcwNTJENDM2Qg -c "$folder/server.properties" >"$folder/format.log" 2>&1
  fi
  nohup java "-Xmx${MILLRACE_KAFKA_HEAP:-256m}" -XX:+UseSerialGC -cp "$libs/*" \
    kafka.Kafka "$folder/server.properties" >"$folder/broker.log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$folder/pid"
  for _ in $(seq 300); do
    if answers "$port"; then
      echo "127.0.0.1:$port"
      return
    fi
    if ! kill -0 "$pid" 2>/dev/null; then
      break
    fi
    sleep 0.2
  done
  echo "kafka.sh: the broker does not answer on port $port" >&2
  tail -n 20 "$folder/broker.log" >&2
  stop "$folder"
  exit 1
}

stop() {
  local folder=$1 pid
  [ -e "$folder/pid" ] || return 0
  pid=$(cat "$folder/pid")
  rm -f "$folder/pid"
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

case "${1:-} $#" in
  "install 1") install_jars ;;
  "start 3") start "$2" "$3" ;;
  "stop 2") stop "$2" ;;
  *)
    echo "usage: $0 install | start FOLDER PORT | stop FOLDER" >&2
    exit 2
    ;;
esac
