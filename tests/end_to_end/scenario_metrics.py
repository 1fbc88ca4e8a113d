#!/usr/bin/env python3
"""/metrics of a process that has handled events: promtool finds nothing to say, and the figures are the true ones."""

import base64
import json
import os
import re
import subprocess
import time
import urllib.request

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sink
from scenario_one_process import settle
from stack import OneProcess

EVENTS = 20


def send(stack, count):
    batch = [{"type": "track", "event": "Counted", "userId": f"u{i}"} for i in range(count)]
    batch.append({"type": "no such type", "userId": "u"})
    request = urllib.request.Request(stack.url + "/v1/batch", json.dumps({"batch": batch}).encode(),
                                     {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def scrape(stack):
    with urllib.request.urlopen(stack.url + "/metrics", timeout=10) as answer:
        return answer.read().decode()


def value(text, name, **labels):
    """The sum of the series with these labels; None when there is none."""
    found = []
    for series, number in re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE):
        if all(f'{key}="{wanted}"' in series for key, wanted in labels.items()):
            found.append(float(number))
    return sum(found) if found else None


def scrape_until(stack, condition):
    """The metrics once `condition` holds of them, or the last ones after 20 s: gauges of the log are set every 2 s."""
    deadline = time.monotonic() + 20
    while True:
        text = scrape(stack)
        if condition(text) or time.monotonic() > deadline:
            return text
        time.sleep(0.1)


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"),
                       ["outbound.allowed_networks=[127.0.0.0/8]", "router.retry_initial_ms=50", "router.retry_max_ms=200"])
    stack.start()
    try:
        stack.apply(workspace(sink.port))
        wait_for_write_key(stack)
        verdict.expect("status", send(stack, EVENTS), 200)
        verdict.expect("first events at the webhook", sink.wait_for(lambda s: s.distinct() >= EVENTS, 60), True)
        settle(stack)
        sink.status = 503
        verdict.expect("status", send(stack, EVENTS), 200)
        text = scrape_until(stack, lambda t: value(t, "millrace_pending_events") == EVENTS)
        verdict.expect("pending while the webhook refuses", value(text, "millrace_pending_events"), EVENTS)
        verdict.expect("lag of the router", value(text, "millrace_log_lag_records", group="router"), EVENTS)
        sink.status = 200
        verdict.expect("all at the webhook", sink.wait_for(lambda s: s.distinct() >= 2 * EVENTS, 60), True)
        audit = settle(stack)
        verdict.expect("audit: residual", audit["residual"], 0)
        text = scrape_until(stack, lambda t: value(t, "millrace_pending_events") == 0)
        check(verdict, text)
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        verdict.expect("promtool says", (done.stdout + done.stderr).strip(), "")
        verdict.expect("promtool's exit code", done.returncode, 0)
    finally:
        stack.stop()
    verdict.exit()


def check(verdict, text):
    """Of two batches, each with one event that can never be delivered."""
    for name, labels, wanted in (
            ("millrace_gateway_events_accepted_total", {}, 2 * EVENTS),
            ("millrace_gateway_events_rejected_total", {}, 2),
            ("millrace_processor_events_total", {"fate": "ACCEPTED"}, 2 * EVENTS + 2),
            ("millrace_processor_events_total", {"fate": "ROUTED"}, 2 * EVENTS),
            ("millrace_processor_events_total", {"fate": "SOURCE_DEAD_LETTERED"}, 2),
            ("millrace_router_events_total", {"outcome": "delivered"}, 2 * EVENTS),
            ("millrace_router_events_total", {"outcome": "dead_lettered"}, 0),
            ("millrace_router_delivery_seconds_count", {}, 2 * EVENTS),
            ("millrace_pending_events", {}, 0),
            ("millrace_ingest_pending_events", {}, 0),
            ("millrace_log_lag_records", {}, 0)):
        shown = ",".join(f"{key}={text_}" for key, text_ in labels.items())
        verdict.expect(f"{name}{{{shown}}}", value(text, name, **labels), wanted)
    verdict.expect("millrace_log_disk_bytes", value(text, "millrace_log_disk_bytes"), lambda seen: seen and seen > 0)


if __name__ == "__main__":
    main()
