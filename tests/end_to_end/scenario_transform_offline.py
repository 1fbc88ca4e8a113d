#!/usr/bin/env python3
"""The control plane is gone and the processor starts again: transformations run on from its last snapshot."""

import os
import sys

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import Services

EVENTS = 1_000

LIBRARY = "export const mark = (event) => ({...event, properties: {...event.properties, marked: true}});"
CODE = "import {mark} from 'marks';\nexport function transformEvent(event) { return mark(event); }"


def main():
    options = arguments(__doc__)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if not brokers:
        sys.exit("MILLRACE_TEST_KAFKA is not set: this scenario needs a broker")
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = Services(options.build, os.path.join(options.work, "services"), brokers)
    stack.others = [service for service in stack.others if service.name != "warehouse-loader"]
    processor = next(service for service in stack.others if service.name == "processor")
    document = workspace(sink.port)
    document["libraries"] = [{"name": "marks", "code": LIBRARY}]
    document["transformations"] = [{"name": "mark", "code": CODE}]
    document["sources"][0]["transformations"] = ["mark"]
    senders = []

    def send(prefix):
        senders.append(Sender(stack.url, WRITE_KEY, EVENTS, 50, os.path.join(options.work, "sender.ndjson"),
                              prefix=prefix, repeat=0).run())
        wanted = EVENTS * len(senders)
        verdict.expect(f"{prefix}: events at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted, 60), True)
        marked = [body["properties"].get("marked") for message, body in sink.bodies.items()]
        verdict.expect(f"{prefix}: all marked", all(marked), True)
        sink.bodies.clear()

    try:
        stack.start()
        stack.apply(document)
        wait_for_write_key(stack)
        send("with")
        stack.control_plane.kill()
        send("away")
        verdict.expect("processor: exit code", processor.stop(), 0)
        processor.start().wait_ready()
        send("stopped")
        processor.kill()
        processor.start().wait_ready()
        send("killed")
        stack.control_plane.start().wait_ready()
        verdict.expect("audit, back again: residual", settle(stack)["residual"], 0)
        for sender in senders:
            seen = check_deliveries(sender, [row for row in sink.arrived if row[1] in sender.sent])
            verdict.expect("lost, reordered, duplicated", (seen["lost"], seen["reordered"], seen["duplicated"]), (0, 0, 0))
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
