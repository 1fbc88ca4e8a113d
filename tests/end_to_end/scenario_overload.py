#!/usr/bin/env python3
"""More than Millrace can take: the gateway says 503 with Retry-After, memory stays within its budget, nothing is lost."""

import base64
import http.client
import json
import os
import resource
import socket
import threading
import time

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import OneProcess, rss_mb

AUTH = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
EVENTS, USERS = 80_000, 500
SLOW = 2_000
BODIES_MB, CONNECTIONS, BODY = 32, 150, 4_000_000
# `millrace up` idle takes about 75 MB; beside the request bodies there are at most 64 MiB on their way to the
# disk, and the windows of processor and router.
BUDGET_MB = 400


class Watch:
    """The most memory that was seen, and what the gateway answers now."""

    def __init__(self, stack):
        self.stack, self.peak, self.done = stack, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.done.wait(0.1):
            self.peak = max(self.peak, rss_mb(self.stack.pids()))

    def stop(self):
        self.done.set()
        self.thread.join()


def post(stack, message_id):
    """Status and Retry-After of one event."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    try:
        connection.request("POST", "/v1/track", json.dumps({"userId": "probe", "event": "Probe", "messageId": message_id}),
                           {"Authorization": AUTH})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


def unfinished_bodies(stack):
    """Connections that send all but the end of a large body; how many were refused with a 503."""
    head = (f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\nContent-Length: {BODY + 1000}\r\n\r\n").encode()
    body = b" " * BODY
    open_sockets, refused = [], []

    def one():
        connection = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        open_sockets.append(connection)
        try:
            connection.sendall(head + body)
        except OSError:
            pass  # refused while it was sending
        connection.settimeout(3)
        try:
            answer = connection.recv(4096)
            refused.append(answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in answer)
        except OSError:
            pass  # it waits for the rest

    threads = [threading.Thread(target=one) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peak = rss_mb(stack.pids())
    for connection in open_sockets:
        connection.close()
    return sum(refused), len(refused), peak


def slow_heads(stack, verdict):
    """Connections that never finish their request head: each gets a 408, and good requests do not notice."""
    before = rss_mb(stack.pids())
    slow = []
    for _ in range(SLOW):
        connection = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        connection.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        slow.append(connection)
    started = time.monotonic()
    took = []
    for number in range(200):
        began = time.monotonic()
        status, _ = post(stack, f"beside-{number}")
        took.append(time.monotonic() - began)
        if status != 200:
            verdict.expect("beside slow heads: status", status, 200)
    verdict.expect("beside slow heads: p95 of good requests, ms", round(sorted(took)[190] * 1000, 1), lambda ms: ms < 250)
    verdict.expect("slow heads: KB each", round((rss_mb(stack.pids()) - before) * 1000 / SLOW, 1), lambda kb: kb < 64)
    answers = {}
    for connection in slow:
        status = connection.recv(64)[9:12]
        answers[status] = answers.get(status, 0) + 1
        connection.close()
    verdict.expect("slow heads: answers", answers, {b"408": SLOW})
    verdict.expect("slow heads: cut off after, s", round(time.monotonic() - started, 1), lambda s: s < 20)


def long_heads(stack, verdict):
    """Heads of 10,000 fields, and lines of a megabyte: 431 or 414, and no memory for them."""
    before, answers = rss_mb(stack.pids()), {}
    for name, head in (("fields", b"".join(b"X-%d: y\r\n" % i for i in range(10_000))), ("field", b"X: " + b"y" * 1_000_000)):
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
                try:
                    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
                except OSError:
                    pass  # refused while it was sending
                try:
                    status = connection.recv(64)[9:12]
                except OSError:
                    status = b"reset"
                answers.setdefault(name, set()).add(status)
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
        connection.sendall(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answers["target"] = {connection.recv(64)[9:12]}
    verdict.expect("long heads: answers", answers, {"fields": {b"431"}, "field": {b"431"}, "target": {b"414"}})
    verdict.expect("long heads: memory, MB", round(rss_mb(stack.pids()) - before, 1), lambda mb: mb < 16)


def main():
    options = arguments(__doc__)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    sink.status = 503  # the tool is down, so the log fills
    stack = OneProcess(options.build, os.path.join(options.work, "up"),
                       ["outbound.allowed_networks=[127.0.0.0/8]", "router.retry_max_ms=1000",
                        "event_log.local.quota_bytes=40000000", "event_log.local.segment_bytes=4000000",
                        f"gateway.max_buffered_bytes={BODIES_MB * 1_000_000}"])
    stack.start()
    watch = Watch(stack)
    sender = Sender(stack.url, WRITE_KEY, EVENTS, USERS, os.path.join(options.work, "sender.ndjson"), connections=64)
    thread = threading.Thread(target=sender.run)
    try:
        stack.apply(workspace(sink.port))
        wait_for_write_key(stack)
        before = rss_mb(stack.pids())
        slow_heads(stack, verdict)
        long_heads(stack, verdict)
        refused, answered, peak = unfinished_bodies(stack)
        print(f"{CONNECTIONS} bodies of {BODY / 1e6:.0f} MB: {refused} of {answered} answers are a 503; "
              f"{before:.0f} MB before, {peak:.0f} MB with them", flush=True)
        verdict.expect("bodies beyond the budget: refused", (answered - refused, refused),
                       lambda n: n[0] == 0 and n[1] >= CONNECTIONS - BODIES_MB * 1_000_000 // BODY - 8)
        verdict.expect("bodies beyond the budget: memory, MB", round(peak - before), lambda mb: mb < BODIES_MB + 64)

        thread.start()
        deadline = time.monotonic() + 60
        while sender.failures < 500 and time.monotonic() < deadline:
            time.sleep(0.05)  # the flood's progress is what is waited for
        verdict.expect("flood: batches refused", sender.failures, lambda n: n >= 500)
        status, retry_after = post(stack, "probe")
        verdict.expect("flood: answer", (status, retry_after is not None and int(retry_after) > 0), (503, True))
        verdict.expect("flood: alive", stack.process.poll(), None)
        accepted_then = len(sender.acknowledged)
        sink.status = 200
        thread.join()
        print(f"{accepted_then} events taken when it was full, {len(sender.acknowledged)} in the end, "
              f"{sender.failures} of {sender.requests} requests refused", flush=True)
        wanted = EVENTS + 200
        verdict.expect("all at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted and
                                                           s.distinct() >= wanted, 120), True)
        audit = settle(stack)
        seen = check_deliveries(sender, [row for row in sink.arrived if row[2] != "probe"])
        for fault in ("lost", "ghost", "reordered", "duplicated"):
            verdict.expect(f"webhook: {fault}", seen[fault], 0)
        verdict.expect("audit: accepted", audit["accepted"], EVENTS + sender.repeats + 200)
        verdict.expect("audit: pending, residual", (audit["pending"], audit["residual"]), (0, 0))
        verdict.expect("peak memory, MB", round(watch.peak), lambda mb: mb < BUDGET_MB)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        sink.status = 200
        if thread.ident:
            sender.give_up()
            thread.join()
        watch.stop()
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
