#!/usr/bin/env python3
"""A sender that holds nothing but the public write key tries to steer webhook and HTTP requests: no configured secret
leaves for another origin, no second request is framed. The bytes are looked at where they arrive."""

import base64
import itertools
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key
from scenario_one_process import settle
from stack import OneProcess

AUTHORIZATION = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
SECRETS = ("canary-key", "canary-token", "canary-user")
FRAMING = {"transfer-encoding", "connection", "expect", "upgrade", "te", "trailer", "keep-alive"}

PASS_ON = "export function transformEvent(event) { return {...event, touched: true}; }"
# A user's own routing, with values that the sender chose: allowed, but it carries nothing of the configuration.
ROUTE = """export function transformEvent(event) {
  const {url, header} = event.properties;
  return {...event, fullPath: url, header};
}
"""


class RawSink:
    """Takes HTTP/1.1 as strictly as can be, answers 200, and keeps every byte and every request."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.lock = threading.Lock()
        self.streams, self.requests, self.faults = [], [], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = bytearray()
        with self.lock:
            self.streams.append(stream)
        at = 0
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                if at < len(stream):
                    self.fault("bytes after the last request", stream[at:])
                return
            stream += data
            while (end := self.request(stream, at)) is not None:
                at = end
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def request(self, stream, at):
        """Where the request at `at` ends; None while it is not whole."""
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            return None
        first, *lines = bytes(stream[at:end]).split(b"\r\n")
        names, values = [], {}
        for line in lines:
            name, _, value = line.partition(b":")
            names.append(name.decode("latin-1").lower())
            values[names[-1]] = value.strip().decode("latin-1")
        length = values.get("content-length", "0")
        if not length.isdigit():
            self.fault("content-length", length)
            return end + 4
        length = int(length)
        if len(stream) < end + 4 + length:
            return None
        body = bytes(stream[end + 4:end + 4 + length])
        self.check(first, names, values, body)
        with self.lock:
            self.requests.append((first, values, body))
        return end + 4 + length

    def check(self, first, names, values, body):
        parts = first.split(b" ")
        if len(parts) != 3 or parts[2] != b"HTTP/1.1" or b"smuggled" in parts[1].split(b"?")[0]:
            self.fault("request line", first)
        for name in {"content-length", "content-type", "authorization", "host"}:
            if names.count(name) > 1:
                self.fault(f"{name} stands {names.count(name)} times", first)
        for name in FRAMING.intersection(names) | {name for name in names if name.startswith("proxy-")}:
            self.fault(f"{name}: {values[name]}", first)
        if values.get("host") != f"127.0.0.1:{self.port}":
            self.fault("host", values.get("host"))
        if parts[0] == b"POST":
            try:
                json.loads(body)
            except ValueError:
                self.fault("body is not the one of the event", body)

    def fault(self, what, where):
        with self.lock:
            self.faults.append(f"{what}: {where!r}"[:300])

    def bytes(self):
        with self.lock:
            return b"\n".join(bytes(stream) for stream in self.streams)


def workspace(home, other):
    """Destinations whose secrets belong to `home`; `other` is where a sender would like to have them."""
    hook = {"webhookUrl": home + "/hook", "webhookMethod": "POST",
            "headers": [{"from": "X-Key", "to": "canary-key"}, {"from": "Authorization", "to": "Bearer canary-token"}]}
    port = other.rsplit(":", 1)[1]
    secret = {"auth": "bearerTokenAuth", "bearerToken": "canary-token", "headers": [{"to": "X-Key", "from": "'canary-key'"}]}
    destinations = [
        ("hook", "WEBHOOK", hook, None),
        ("bare", "WEBHOOK", {**hook, "webhookUrl": home}, "pass"),
        ("passed", "WEBHOOK", hook, "pass"),
        ("get", "WEBHOOK", {**hook, "webhookMethod": "GET"}, "pass"),
        ("routed", "WEBHOOK", hook, "route"),
        ("path", "HTTP", {"apiUrl": home + "/users/{{$.userId}}", **secret}, None),
        ("host", "HTTP", {"apiUrl": "http://canary-user:canary-user@{{$.properties.host}}:" + port + "/in",
                          "allowedOrigins": [home], **secret}, None),
    ]
    document = {"sources": [{"name": "app", "type": "HTTP", "writeKey": WRITE_KEY}], "destinations": [], "connections": [],
                "transformations": [{"name": "pass", "code": PASS_ON}, {"name": "route", "code": ROUTE}]}
    for name, kind, config, transformation in destinations:
        document["destinations"].append({"name": name, "type": kind, "config": config})
        connection = {"source": "app", "destination": name}
        if transformation:
            connection["transformations"] = [transformation]
        document["connections"].append(connection)
    return document


def variants(home, other):
    """Events as JSON texts: some are spelt as no JSON library writes them."""
    second = "POST /smuggled HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
    urls = [other, other + "/elsewhere", home + "@" + other[7:], home + ".evil", home + "/elsewhere", "//" + other[7:],
            home + "\\\\@" + other[7:], "http://x@" + other[7:], other.replace("127", "0177"), other + "#" + home,
            other + "?x=1 HTTP/1.1\\r\\nX: y", other.upper(), "file:///etc/passwd", home + "/%0d%0aX:%20y"]
    headers = ["Transfer-Encoding: chunked", "transfer-encoding: identity", "Transfer-Encoding: \\tchunked",
               "Content-Length: 0", "content-length: 5", "CONTENT-LENGTH: 99999", "Content-Length: 1, 2",
               "Host: evil.example", "host: 127.0.0.1:1", "Connection: close", "connection: content-length",
               "Expect: 100-continue", "Upgrade: h2c", "TE: trailers", "Trailer: X", "Keep-Alive: timeout=1",
               "Proxy-Authorization: x", "proxy-connection: close", "Proxy-Foo: 1", "Content-Type: text/plain",
               "content-type: a/b", "AUTHORIZATION: mine", "authorization: mine", "X-Key: mine",
               "X: a\\r\\n" + second, "X: a\\nTransfer-Encoding: chunked", "X\\r\\nTransfer-Encoding: chunked",
               "X\\u0000: y", "Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "X(y): z", ": y"]

    def header(line):
        name, _, value = line.partition(": ")
        return f'{{"{name}":"{value}"}}'

    def event(members, properties="", user="u"):
        return f'{{"type":"track","event":"e","userId":"{user}","properties":{{"host":"127.0.0.1"{properties}}}{members}}}'

    spelt = {"fullPath": ["fullPath", "full\\u0050ath"], "appendPath": ["appendPath", "\\u0061ppendPath"]}
    for key, url in itertools.product(("fullPath", "appendPath"), urls):
        for name in spelt[key]:
            yield event(f',"{name}":"{url}"')
        yield event(f',"{key}":"x","{key}":"{url}"')                        # the last one counts
        yield event(f',"{key}":["{url}"]')
    for url in urls:
        yield event(f',"fullPath":"{url}","header":{{"a":1e400,"b":12345678901234567890}}')
        yield event("", f',"url":"{url}"')                                  # the user's own transformation asks for it
    for line in headers:
        yield event(',"header":' + header(line))
        yield event("", f',"header":{header(line)}')
        yield event("", f',"url":"{other}","header":{header(line)}')
    for user in ("..", ".", "../admin", "%2e%2e", "a\\u0000b", "a\\r\\nX: y", "", "\\\\..\\\\", "?x", "#x", "@" + other[7:]):
        yield event("", user=user)
    for host in (other[7:], "127.0.0.1", "127.0.0.1/", "127.0.0.1#", "x@127.0.0.1", "127.0.0.1\\\\", "[::1]", ""):
        yield event("", f',"host":"{host}"')


def post(url, text):
    """The status: some of it is no JSON to every reader, and may be refused."""
    request = urllib.request.Request(url + "/v1/track", text.encode(),
                                     {"Content-Type": "application/json", "Authorization": AUTHORIZATION})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    # Addresses that do not answer are given up soon.
    stack = OneProcess(options.build, os.path.join(options.work, "up"),
                       ["router.allowed_networks=[127.0.0.0/8]", "router.max_retry_age_s=5"])
    home, other = RawSink(), RawSink()
    home_url, other_url = (f"http://127.0.0.1:{sink.port}" for sink in (home, other))
    try:
        stack.start()
        stack.apply(workspace(home_url, other_url))
        wait_for_write_key(stack)
        texts = list(variants(home_url, other_url))
        statuses = [post(stack.url, text) for text in texts]
        verdict.expect("variants", len(texts), lambda count: count >= 200)
        verdict.expect("variants that were accepted", statuses.count(200), lambda count: count >= 200)
        audit = settle(stack)
        verdict.expect("audit: pending", audit["pending"], 0)
        verdict.expect("audit: residual", audit["residual"], 0)
        time.sleep(0.2)  # what a framed second request would still bring
        # Each delivery is one request: a second one in it would be one more.
        delivered = stack.audit()["delivered"]
        verdict.expect("requests at both ends", len(home.requests) + len(other.requests), delivered)
        for name, sink in (("home", home), ("other", other)):
            verdict.expect(f"{name}: faults", sink.faults[:5], [])
        leaked = [secret for secret in SECRETS if secret.encode() in other.bytes()]
        verdict.expect("secrets at the other origin", leaked, [])
        # The test would see nothing if nothing had arrived.
        verdict.expect("secrets at home", [s for s in SECRETS[:2] if s.encode() in home.bytes()], list(SECRETS[:2]))
        asked = sum(b'"touched"' not in body and first.startswith(b"POST / ") for first, _, body in other.requests)
        verdict.expect("requests at the other origin that its own transformation sent there", asked, lambda n: n > 0)
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
