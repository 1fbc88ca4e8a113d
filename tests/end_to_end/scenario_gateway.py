#!/usr/bin/env python3
"""The gateway over a socket: bodies and statuses, gzip, CORS, paths, write keys, bad events, and redrive of dead letters."""

import base64
import gzip
import http.client
import json
import os
import socket
import subprocess
import time

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sink
from scenario_one_process import settle
from stack import OneProcess

BASIC = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
LIMIT = 4_096_000


class Client:
    def __init__(self, stack, verdict):
        self.port, self.verdict = stack.port, verdict
        self.sent = 0  # events answered 200

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def raw(self, request):
        """The status of a request as written, with what came before the server closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return int(answer.split(b" ", 2)[1]) if answer else 0

    def post(self, what, path, body, wanted, headers=None, events=0, key=BASIC):
        """`wanted` is (status, body)."""
        if not isinstance(body, (bytes, type(None))):
            body = json.dumps(body).encode()
        all_headers = {**({"Authorization": key} if key else {}), **(headers or {})}
        status, text, _ = self.ask("POST", path, body, all_headers)
        self.verdict.expect(what, (status, text.decode()), wanted)
        if status == 200:
            self.sent += events


def event(message_id, **more):
    return {"type": "track", "event": "Seen", "userId": "u1", "messageId": message_id, **more}


OK = (200, "ok")


def bodies_and_statuses(client):
    post = client.post
    post("no body", "/v1/track", None, (400, "request body is nil\n"))
    post("no JSON", "/v1/track", b"{", (400, "invalid json\n"))
    post("empty batch", "/v1/batch", {"batch": []}, (400, "empty batch payload\n"))
    post("no batch", "/v1/batch", {"sentAt": "2026-01-01T00:00:00Z"}, (400, "empty batch payload\n"))
    post("nobody's event", "/v1/track", {"event": "E"}, (400, "request neither has anonymousId nor userId\n"))
    post("not an event", "/v1/track", [1], (400, "event is not a valid rudder event\n"))
    post("no write key", "/v1/track", event("x"), (401, "failed to read writekey from header\n"), key=None)
    post("no write key of a beacon", "/beacon/v1/batch", {"batch": [event("x")]},
         (401, "failed to read writekey from query params\n"), key=None)
    post("wrong write key", "/v1/track", event("x"), (401, "invalid write key\n"),
         key="Basic " + base64.b64encode(b"nobody:").decode())
    post("disabled source", "/v1/track", event("x"), (404, "source is disabled\n"),
         key="Basic " + base64.b64encode(b"disabled-key:").decode())
    post("too large", "/v1/batch", b" " * (LIMIT + 1), (413, "request size exceeds max limit\n"))
    post("too large an event", "/v1/track", event("x", properties={"a": "x" * 900_000}),
         (413, "request size exceeds max limit\n"))
    client.verdict.expect("GET of an ingestion path", client.ask("GET", "/v1/track")[:2],
                          (400, b"invalid http request method\n"))
    client.verdict.expect("unknown path", client.ask("GET", "/v1/nothing")[0], 404)
    client.verdict.expect("health", client.ask("GET", "/health")[0], 200)
    head = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for what, lines in (("both lengths", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                        ("two lengths", b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
                        ("bare LF", b"X: y\nZ: a\r\nContent-Length: 0\r\n\r\n"),
                        ("folded header", b"X: y\r\n  z\r\nContent-Length: 0\r\n\r\n"),
                        ("space before the colon", b"Content-Length : 0\r\n\r\n")):
        client.verdict.expect(f"refused: {what}", client.raw(head + lines), 400)
    client.verdict.expect("refused: no Host", client.raw(b"POST /v1/track HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 400)


def ways_in(client):
    post = client.post
    for path in ("identify", "track", "page", "screen", "group", "alias"):
        for form in (f"/v1/{path}", f"/v1/{path}/", f"/v1/{path[0]}", f"/v1/{path[0]}/"):
            more = {"previousId": "u0"} if path == "alias" else {"groupId": "g"} if path == "group" else {}
            post(f"path {form}", form, {"userId": "u1", "event": "Seen", "messageId": f"path-{form}", **more}, OK, events=1)
    post("path /v1/b/", "/v1/b/", {"batch": [event("path-b")]}, OK, events=1)
    post("path /v1/import", "/v1/import", {"batch": [event("path-import")]}, OK, events=1)
    post("key in the body", "/v1/batch", {"writeKey": WRITE_KEY, "batch": [event("key-body")]}, OK, events=1, key=None)
    post("key in an event", "/v1/track", event("key-event", writeKey=WRITE_KEY), OK, events=1, key=None)
    post("key in the query", f"/v1/track?writeKey={WRITE_KEY}", event("key-query"), OK, events=1, key=None)
    post("beacon", f"/beacon/v1/batch?writeKey={WRITE_KEY}", {"batch": [event("key-beacon")]}, OK, events=1, key=None,
         headers={"Content-Type": "text/plain"})


def compressed(client):
    packed = gzip.compress(json.dumps(event("gzip-plain")).encode())
    coding = {"Content-Encoding": "gzip"}
    bad = (400, "failed to read body from request\n")
    client.post("gzip", "/v1/track", packed, OK, headers=coding, events=1)
    packed = gzip.compress(json.dumps(event("gzip-chunked")).encode())
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(packed[i:i + 40]), packed[i:i + 40]) for i in range(0, len(packed), 40))
    status = client.raw(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: " + BASIC.encode() +
                        b"\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
                        chunks + b"0\r\n\r\n")
    client.verdict.expect("gzip, chunked", status, 200)
    client.sent += status == 200
    client.post("gzip, cut off", "/v1/track", packed[:-9], bad, headers=coding)
    client.post("gzip, damaged", "/v1/track", packed[:30] + b"\0\0\0\0" + packed[34:], bad, headers=coding)
    client.post("another coding", "/v1/track", b"abc", bad, headers={"Content-Encoding": "br"})
    bomb = gzip.compress(b"{" + b" " * 300_000_000, 9)
    client.post(f"gzip bomb of {len(bomb)} bytes", "/v1/track", bomb, (413, "request size exceeds max limit\n"),
                headers=coding)


def browsers(client):
    wanted = "authorization,content-type,rsa-recovered,rsa-retry-attempt,rsa-since-last-attempt,sentat"
    status, _, headers = client.ask("OPTIONS", "/v1/batch", headers={
        "Origin": "https://shop.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": wanted})
    client.verdict.expect("preflight", (status, headers.get("access-control-allow-origin"),
                                        headers.get("access-control-allow-credentials"),
                                        headers.get("access-control-allow-headers"),
                                        "POST" in headers.get("access-control-allow-methods", ""),
                                        int(headers.get("access-control-max-age", 0)) > 0),
                          (204, "https://shop.example", "true", wanted, True, True))
    for what, key, wanted_status in (("answer", BASIC, 200), ("refusal", "Basic bm9ib2R5Og==", 401)):
        status, _, headers = client.ask("POST", "/v1/track", json.dumps(event("cors")).encode(),
                                        {"Authorization": key, "Origin": "https://shop.example", "Rsa-Retry-Attempt": "1"})
        client.sent += status == 200
        client.verdict.expect(f"CORS of the {what}", (status, headers.get("access-control-allow-origin")),
                              (wanted_status, "https://shop.example"))


def mended(client):
    """Sent as bytes that json.dumps would not write."""
    for name, value in (("surrogate", b'"a\\ud800b"'), ("number", b"1e999"), ("utf8", b'"a\xff\xfeb"')):
        client.post(f"mended: {name}", "/v1/track",
                    b'{"userId":"u1","event":"Seen","messageId":"mended-%s","properties":{"value":%s}}'
                    % (name.encode(), value), OK, events=1)


def run_cli(stack, *command):
    return subprocess.run([stack.program, *command, "--url", stack.url], capture_output=True, text=True, check=False,
                          env={**os.environ, "MILLRACE_TOKEN": stack.token()})


def letters_of(stack, count):
    """The dead letters once there are `count`, or what there is after 20 s."""
    deadline = time.monotonic() + 20
    while True:
        letters = stack.api("GET", "/dead-letters")
        if len(letters) >= count or time.monotonic() > deadline:
            return letters
        time.sleep(0.1)  # the control plane reads them in the background


def one_bad_of_a_hundred(client, stack, sink):
    batch = [event(f"hundred-{i}") for i in range(100)]
    del batch[42]["userId"]
    client.post("one bad event of 100", "/v1/batch", {"batch": batch}, OK, events=100)
    client.verdict.expect("the other 99 at the webhook",
                          sink.wait_for(lambda s: sum(str(row[1]).startswith("hundred-") for row in s.arrived) >= 99, 20),
                          True)
    client.verdict.expect("dead letters", [letter["messageId"] for letter in letters_of(stack, 1)], ["hundred-42"])
    listed = run_cli(stack, "dead-letter", "ls")
    client.verdict.expect("dead-letter ls", (listed.returncode, "neither anonymousId nor userId" in listed.stdout,
                                             "gateway" in listed.stdout), (0, True, True))


def redriven(client, stack, sink):
    sink.status = 400
    client.post("to a broken webhook", "/v1/track", event("refused-once"), OK, events=1)
    letters = [letter for letter in letters_of(stack, 2) if letter["messageId"] == "refused-once"]
    client.verdict.expect("refused by the webhook", [(letter["stage"], "400" in letter["reason"]) for letter in letters],
                          [("router", True)])
    sink.status = 200
    done = run_cli(stack, "dead-letter", "redrive", "--id", letters[0]["id"])
    client.verdict.expect("redrive", (done.returncode, done.stdout.strip(), done.stderr), (0, "redriven: 1", ""))
    arrived = sink.wait_for(lambda s: any(row[1] == "refused-once" for row in s.arrived), 20)
    client.verdict.expect("redriven: arrived", arrived, True)
    again = run_cli(stack, "dead-letter", "redrive", "--id", letters[0]["id"])
    client.verdict.expect("redrive of what is redriven", again.stdout.strip() in ("redriven: 0", ""), True)
    audit = settle(stack)
    sink.wait_for(lambda s: False, 1.0)
    client.verdict.expect("redriven: times delivered", sum(row[1] == "refused-once" for row in sink.arrived), 1)
    client.verdict.expect("audit: residual, pending", (audit["residual"], audit["pending"]), (0, 0))
    balanced = run_cli(stack, "audit")
    client.verdict.expect("millrace audit", (balanced.returncode, "NOT" in balanced.stdout), (0, False))
    client.verdict.expect("audit: accepted", audit["accepted"], client.sent)


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"])
    stack.start()
    try:
        document = workspace(sink.port)
        document["sources"].append({"name": "off", "type": "HTTP", "writeKey": "disabled-key", "enabled": False})
        stack.apply(document)
        wait_for_write_key(stack)
        client = Client(stack, verdict)
        bodies_and_statuses(client)
        verdict.expect("accepted of what was refused", client.sent, 0)
        ways_in(client)
        compressed(client)
        browsers(client)
        mended(client)
        verdict.expect("at the webhook", sink.wait_for(lambda s: len(s.arrived) >= client.sent, 20), True)
        verdict.expect("mended values", [sink.bodies[f"mended-{name}"]["properties"]["value"] is not None
                                         for name in ("surrogate", "number", "utf8")], [True, True, True])
        one_bad_of_a_hundred(client, stack, sink)
        redriven(client, stack, sink)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
