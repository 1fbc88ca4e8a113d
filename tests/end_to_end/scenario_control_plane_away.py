#!/usr/bin/env python3
"""The control plane is killed: events go on flowing, also after a restart of every other service."""

import os
import sys

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import Services

EVENTS = 2_000


def main():
    options = arguments(__doc__)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if not brokers:
        sys.exit("MILLRACE_TEST_KAFKA is not set: this scenario needs a broker")
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = Services(options.build, os.path.join(options.work, "services"), brokers)
    senders = []

    def send(prefix):
        senders.append(Sender(stack.url, WRITE_KEY, EVENTS, 100, os.path.join(options.work, "sender.ndjson"),
                              prefix=prefix).run())
        wanted = EVENTS * len(senders)
        verdict.expect(f"{prefix}: events at the webhook",
                       sink.wait_for(lambda s: len(s.arrived) >= wanted and s.distinct() >= wanted, 60), True)

    try:
        stack.start()
        stack.apply(workspace(sink.port))
        wait_for_write_key(stack)
        send("with")
        stack.control_plane.kill()
        send("without")
        for service in stack.gateways + stack.others:
            verdict.expect(f"{service.instance}: exit code", service.stop(), 0)
            service.start()
        for service in stack.gateways + stack.others:
            service.wait_ready()
        send("restarted")
        stack.control_plane.start().wait_ready()
        verdict.expect("audit, back again: residual", settle(stack)["residual"], 0)
        for number, sender in enumerate(senders):
            part = [row for row in sink.arrived if row[1] in sender.sent]
            seen = check_deliveries(sender, part)
            verdict.expect(f"part {number + 1}: lost, reordered", (seen["lost"], seen["reordered"]), (0, 0))
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
