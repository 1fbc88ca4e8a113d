"""The network of scenario_ssrf.py, run inside its namespace: a name server whose answers change, and an HTTP server on
every address. Prints "ready", then answers each line on standard input with a JSON line of what was counted since."""

import json
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PUBLIC = "93.184.216.34"
# Name: the answers of one query after another, the last for ever. A query of the other kind finds nothing.
NAMES = {
    "public.test": ["93.184.216.34"], "metadata.test": ["169.254.169.254"], "internal.test": ["fd00::1"],
    "loop.test": ["127.0.0.1"], "ten.test": ["10.1.2.3"], "mapped.test": ["::ffff:127.0.0.1"],
    "rebind.test": ["93.184.216.34", "127.0.0.1"], "hop.test": ["93.184.216.34", "169.254.169.254"],
    "nat64.test": ["64:ff9b::a9fe:a9fe"],
    "both.test": [["93.184.216.34", "127.0.0.1"]],
}

lock = threading.Lock()
accepted = []  # the address that was connected to, of each connection
asked = {}


def answer(query):
    """A DNS answer with a time to live of 0."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1").lower())
        at += 1 + query[at]
    name, kind = ".".join(labels), struct.unpack(">H", query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    rows = NAMES.get(name)
    if rows is None:
        return query[:2] + b"\x81\x83" + b"\x00\x01" + b"\x00" * 6 + question
    family, wanted = (socket.AF_INET6, 28) if ":" in rows[0] else (socket.AF_INET, 1)
    data = b""
    count = 0
    if kind == wanted:
        with lock:
            turn = asked[name] = asked.get(name, 0) + 1
        row = rows[min(turn, len(rows)) - 1]
        for address in row if isinstance(row, list) else [row]:
            packed = socket.inet_pton(family, address)
            data += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
            count += 1
    return query[:2] + b"\x81\x80\x00\x01" + struct.pack(">H", count) + b"\x00" * 4 + question + data


def serve_names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query), client)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        to = parse_qs(urlparse(self.path).query).get("to")
        self.send_response(302 if to else 200)
        if to:
            self.send_header("Location", to[0])
        body = b"" if to else b"secret"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def get_request(self):
        connection, client = super().get_request()
        with lock:
            accepted.append(connection.getsockname()[0].removeprefix("::ffff:"))
        return connection, client


def opens():
    """Connections begun in this namespace, whatever became of them: each is a SYN."""
    with open("/proc/net/snmp", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("Tcp:")]
    return int(values[names.index("ActiveOpens")])


def main():
    threading.Thread(target=serve_names, daemon=True).start()
    for port in (80, 8080):
        threading.Thread(target=Server(("::", port), Handler).serve_forever, daemon=True).start()
    print("ready", flush=True)
    before = opens()
    for _ in sys.stdin:
        now = opens()
        with lock:
            print(json.dumps({"opens": now - before, "accepted": accepted}), flush=True)
            accepted.clear()
        before = now


main()
