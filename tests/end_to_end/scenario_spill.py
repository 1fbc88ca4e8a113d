#!/usr/bin/env python3
"""The Kafka broker dies: the gateway goes on taking events, kept on its disk, and nothing is lost when it is back,
though the gateway is killed meanwhile."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import Service, Services, free_port

EVENTS, USERS = 4_000, 100
KAFKA = os.path.join(os.path.dirname(__file__), "../support/kafka.sh")


class Broker:
    """A broker of this scenario's own, as it dies."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()

    def start(self):
        # Its output goes to a file: a pipe would stay open as long as the broker runs.
        with open(self.folder + ".start.log", "ab") as log:
            subprocess.run([KAFKA, "start", self.folder, str(self.port)], stdout=log, stderr=log, check=True)

    def kill(self):
        with open(os.path.join(self.folder, "pid"), encoding="utf-8") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)
        os.remove(os.path.join(self.folder, "pid"))

    def stop(self):
        subprocess.run([KAFKA, "stop", self.folder], check=False)


def metric(service, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=10) as answer:
        found = re.search(rf"^{name}(?:\{{.*\}})? ([0-9.e+]+)$", answer.read().decode(), re.M)
    return int(float(found.group(1))) if found else None


def ready(service):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health/ready", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def fill(service, seconds):
    """Sends large events until one is refused; (accepted, the refusal's status and Retry-After)."""
    auth = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    accepted, refused, deadline = 0, None, time.monotonic() + seconds
    while time.monotonic() < deadline:
        body = json.dumps({"userId": f"filler-{accepted % 7}", "event": "Filler", "messageId": f"fill-{accepted}",
                           "properties": {"seq": 0, "text": "x" * 100_000}}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}/v1/track", body, {"Authorization": auth})
        try:
            with urllib.request.urlopen(request, timeout=60):
                accepted += 1
        except urllib.error.HTTPError as error:
            refused = (error.code, error.headers.get("Retry-After") is not None)
            if ready(service) != 200:
                break
    return accepted, refused


def main():
    options = arguments(__doc__)
    if not os.environ.get("MILLRACE_TEST_KAFKA"):
        sys.exit("MILLRACE_TEST_KAFKA is not set: no broker can be had here")
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    broker = Broker(os.path.join(options.work, "kafka"))
    stack = Services(options.build, os.path.join(options.work, "services"), f"127.0.0.1:{broker.port}")
    small = Service(stack, "gateway", "gateway-small", ["gateway.spill_quota_bytes=8000000"])
    gateway = stack.gateways[0]
    for one in (gateway, small):  # gives up what it has in hand sooner than the default of 30 s
        one.settings.append("event_log.kafka.properties={message.timeout.ms: \"5000\"}")
    senders = []

    def send(prefix):
        started = time.monotonic()
        sender = Sender(stack.url, WRITE_KEY, EVENTS, USERS, os.path.join(options.work, "sender.ndjson"), prefix=prefix)
        senders.append(sender)
        sender.run()
        print(f"{prefix}: {EVENTS} acknowledged in {time.monotonic() - started:.1f} s, "
              f"{sender.failures} requests tried again", flush=True)
        return sender

    try:
        broker.start()
        stack.start()
        small.start().wait_ready()
        stack.apply(workspace(sink.port))
        wait_for_write_key(stack)
        send("with")
        verdict.expect("with: spilled", metric(gateway, "millrace_gateway_spilled_events_total"), 0)

        # The broker dies in the middle of this one.
        across = threading.Thread(target=send, args=("across",), daemon=True)
        across.start()
        while len(senders) < 2 or len(senders[1].acknowledged) < EVENTS // 4:
            time.sleep(0.005)  # the sender's progress is what is waited for
        broker.kill()
        across.join()
        send("without")
        verdict.expect("without a broker: kept on disk", metric(gateway, "millrace_gateway_spill_waiting_events"),
                       lambda n: n >= EVENTS)
        verdict.expect("without a broker: ready", ready(gateway), 200)
        accepted, refused = fill(small, 90)
        verdict.expect("small spill: events kept", accepted, lambda n: n > 10)
        verdict.expect("small spill: refused with 503 and Retry-After", refused, (503, True))
        verdict.expect("small spill: not ready", ready(small), 503)
        gateway.kill()

        broker.start()
        gateway.start().wait_ready()
        send("after")
        for service in (gateway, small):
            deadline = time.monotonic() + 90
            while metric(service, "millrace_gateway_spill_waiting_events") != 0 and time.monotonic() < deadline:
                time.sleep(0.1)  # the metric is all that tells
            verdict.expect(f"{service.instance}: left on disk", metric(service, "millrace_gateway_spill_waiting_events"), 0)
        verdict.expect("small spill: ready again", ready(small), 200)
        wanted = EVENTS * len(senders) + accepted
        verdict.expect("all at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted and s.distinct() >= wanted,
                                                           120), True)
        verdict.expect("audit: pending, residual", (lambda a: (a["pending"], a["residual"]))(settle(stack)), (0, 0))
        for sender in senders:
            seen = check_deliveries(sender, [row for row in sink.arrived if row[1] in sender.sent])
            verdict.expect(f"{sender.prefix}: lost, reordered", (seen["lost"], seen["reordered"]), (0, 0))
        verdict.expect("exit code after SIGTERM", max(small.stop(), stack.stop()), 0)
    finally:
        for sender in senders:
            sender.give_up()
        small.stop()
        stack.stop()
        broker.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
