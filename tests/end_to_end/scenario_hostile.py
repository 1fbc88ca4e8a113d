#!/usr/bin/env python3
"""What anyone with the public write key can send: no request of 4 MB holds another up or leaves memory behind, and no
number of connections keeps others from being served. A process that is still starting obeys SIGTERM."""

import base64
import gzip
import http.client
import os
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.request
import zlib

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from scenario_one_process import settle
from stack import OneProcess, free_port, rss_mb

HELD_UP_S = 0.25
LEFT_MB = 50
MAX_BODY = 4_096_000
DESCRIPTORS = 400
AUTHORIZATION = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
GOOD = b'{"event":"Good","userId":"u"}'


def post(path, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: hostile", f"Authorization: {AUTHORIZATION}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def batch(element):
    """As many of the element as the largest body takes."""
    count = (MAX_BODY - 14) // (len(element) + 1)
    return b'{"batch":[' + b",".join([element] * count) + b"]}"


def chunked_by_one(body):
    head = "\r\n".join(["POST /v1/track HTTP/1.1", "Host: hostile", f"Authorization: {AUTHORIZATION}",
                        "Transfer-Encoding: chunked", "", ""]).encode()
    return head + b"".join(b"1\r\n" + body[i:i + 1] + b"\r\n" for i in range(len(body))) + b"0\r\n\r\n"


def many_members(size):
    """gzip of very many empty members."""
    one = gzip.compress(b"")
    return one * (size // len(one))


def requests():
    """Name, bytes to send, whether the answers are read."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(b" " * (1 << 30)) + packer.flush()
    track = '{"userId":"u","event":"E","properties":%s}'
    big = MAX_BODY - 100
    keys = ",".join(f'"k{i}":1' for i in range(300_000))
    refused = b'{"type":"dance","userId":"u","event":"' + b"x" * 1580 + b'"}'
    good = b'{"type":"track","userId":"u","event":"' + b"x" * 1580 + b'"}'
    return (
        ("a gzip that unpacks to 1 GB", post("/v1/batch", bomb, "Content-Encoding: gzip"), True),
        ("a million tiny events, packed", post("/v1/batch", gzip.compress(batch(b"{}")), "Content-Encoding: gzip"), True),
        ("a million tiny events", post("/v1/batch", batch(b"{}")), True),
        ("two million numbers for events", post("/v1/batch", batch(b"1")), True),
        ("empty members of gzip", post("/v1/batch", many_members(MAX_BODY), "Content-Encoding: gzip"), True),
        ("4 MB of brackets", post("/v1/track", b"[" * big), True),
        ("4 MB of nested objects", post("/v1/track", (b'{"a":' * (big // 6)) + b"1" + b"}" * (big // 6)), True),
        ("300,000 keys", post("/v1/track", (track % ("{" + keys + "}")).encode()), True),
        ("a string of 4 MB", post("/v1/track", (track % ('"' + "x" * big + '"')).encode()), True),
        ("lone surrogates", post("/v1/track", (track % ('"' + "\\ud800" * (big // 6) + '"')).encode()), True),
        ("bytes that are no UTF-8", post("/v1/track", b'{"userId":"u","event":"' + b"\xff" * big + b'"}'), True),
        ("numbers beyond a double", post("/v1/track", (track % ("[" + "1e999," * (big // 6) + "1]")).encode()), True),
        ("2,500 refused events", post("/v1/batch", b'{"batch":[' + b",".join([refused] * 2450) + b"]}"), True),
        ("2,500 good events", post("/v1/batch", b'{"batch":[' + b",".join([good] * 2450) + b"]}"), True),
        ("4 MB that is no JSON at its end", post("/v1/batch", batch(good)[:-1]), True),
        ("a body in pieces of one byte", chunked_by_one((track % ('"' + "x" * 700_000 + '"')).encode()), True),
        ("thousands of pipelined /metrics, unread", b"GET /metrics HTTP/1.1\r\nHost: hostile\r\n\r\n" * 10_000, False),
        ("thousands of pipelined answers, unread", post("/v1/track", GOOD) * 20_000, False),
    )


class Prober:
    """Sends one good event after the other and notes the longest wait."""

    def __init__(self, port):
        self.port, self.longest, self.refused, self.count = port, 0.0, 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop.is_set():
            started = time.monotonic()
            connection.request("POST", "/v1/track", GOOD, {"Authorization": AUTHORIZATION})
            answer = connection.getresponse()
            answer.read()
            self.longest = max(self.longest, time.monotonic() - started)
            self.refused += answer.status != 200
            self.count += 1
            time.sleep(0.002)
        connection.close()


def send(port, data, read):
    """The first line of the answer; without `read` the connection is held, unread, for two seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        if not read:
            client.settimeout(2)
            try:
                client.sendall(data)
                time.sleep(2)
            except (TimeoutError, ConnectionError):
                pass  # it takes no more of us, as it should
            return "unread"
        text = b""
        try:
            client.sendall(data)
            while b"\r\n" not in text:
                more = client.recv(65536)
                if not more:
                    break
                text += more
        except ConnectionError:
            pass  # refused before it has read all
        return text.split(b"\r\n")[0].decode()


def settled_rss(stack, target):
    """Memory once it is below the target, or the last seen after 10 s."""
    deadline = time.monotonic() + 10
    while True:
        seen = rss_mb(stack.pids())
        if seen < target or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def hostile_requests(stack, verdict):
    for name, data, read in requests():
        # What a request does it does each time; what a busy machine does it does not.
        for _ in range(3):
            before = rss_mb(stack.pids())
            with Prober(stack.port) as prober:
                while prober.count < 10:
                    time.sleep(0.005)
                answer = send(stack.port, data, read)
            left = settled_rss(stack, before + LEFT_MB) - before
            if prober.longest < HELD_UP_S and left < LEFT_MB and prober.refused == 0:
                break
        verdict.expect(f"{name}: longest wait of another request, seconds", round(prober.longest, 3),
                       lambda seen: seen < HELD_UP_S)
        verdict.expect(f"{name}: memory left, MB", round(left), lambda seen: seen < LEFT_MB)
        verdict.expect(f"{name}: refused others", prober.refused, 0)
        verdict.expect(f"{name}: answer", answer, lambda seen: seen == "unread" or seen.startswith("HTTP/1.1 "))


def good_request(stack):
    request = urllib.request.Request(stack.url + "/v1/track", GOOD, {"Authorization": AUTHORIZATION})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status


def many_connections(stack, verdict, what, first_bytes):
    """More connections than the process has descriptors, that send `first_bytes` and no more."""
    held = []
    try:
        for _ in range(3 * DESCRIPTORS):
            client = socket.create_connection(("127.0.0.1", stack.port), timeout=20)
            client.sendall(first_bytes)
            held.append(client)
        answers = []
        for _ in range(20):
            try:
                answers.append(good_request(stack))
            except OSError as error:
                answers.append(str(error))
        verdict.expect(f"{3 * DESCRIPTORS} {what}: answers to others", set(answers), {200})
        used = len(os.listdir(f"/proc/{stack.process.pid}/fd"))
        verdict.expect(f"{3 * DESCRIPTORS} {what}: descriptors left", DESCRIPTORS - used, lambda seen: seen > 20)
    finally:
        for client in held:
            client.close()


def starting(options, verdict):
    """Without control plane and log a service waits for them; told to end, it ends."""
    for name in ("router", "gateway"):
        folder = os.path.join(options.work, "starting-" + name)
        os.makedirs(folder, exist_ok=True)
        command = [os.path.join(options.build, "services", name, "millrace-" + name)]
        for setting in (f"data_dir={folder}", f'listen="127.0.0.1:{free_port()}"', "event_log.backend=kafka",
                        f'event_log.kafka.brokers="127.0.0.1:{free_port()}"',
                        f'control_plane_client.address="127.0.0.1:{free_port()}"', "control_plane_client.token=none"):
            command += ["--set", setting]
        with open(os.path.join(folder, "log.txt"), "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None and not blocks_sigterm(process.pid):
            time.sleep(0.01)
        time.sleep(1)  # into the wait; it goes on for half a minute
        verdict.expect(f"millrace-{name} waits", process.poll(), None)
        process.send_signal(signal.SIGTERM)
        try:
            verdict.expect(f"millrace-{name}, told to end while it waits", process.wait(5), 0)
        except subprocess.TimeoutExpired:
            verdict.expect(f"millrace-{name}, told to end while it waits", "still there after 5 s", 0)
            process.kill()
            process.wait()


def blocks_sigterm(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk:"))
    except (OSError, StopIteration):
        return False
    return bool(mask >> (signal.SIGTERM - 1) & 1)


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    starting(options, verdict)
    stack = OneProcess(options.build, os.path.join(options.work, "up"))
    stack.start()
    try:
        stack.apply(workspace())
        wait_for_write_key(stack)
        hostile_requests(stack, verdict)
        verdict.expect("audit: residual", settle(stack)["residual"], 0)
    finally:
        stack.stop()
    few = OneProcess(options.build, os.path.join(options.work, "few"))
    limited = os.path.join(options.work, "limited.sh")
    with open(limited, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec "{os.path.abspath(few.program)}" "$@"\n')
    os.chmod(limited, 0o755)
    few.program = limited
    few.start()
    try:
        few.apply(workspace())
        wait_for_write_key(few)
        many_connections(few, verdict, "idle connections", b"")
        many_connections(few, verdict, "connections that send a head slowly", b"POST /v1/track HTTP/1.1\r\nHo")
        many_connections(few, verdict, "connections that send a body slowly", post("/v1/track", GOOD)[:-1])
        verdict.expect("audit: residual", settle(few)["residual"], 0)
    finally:
        verdict.expect("the process ends", few.stop(), 0)
    verdict.exit()


if __name__ == "__main__":
    main()
