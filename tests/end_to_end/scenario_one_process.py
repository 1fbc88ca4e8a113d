#!/usr/bin/env python3
"""100,000 events of 1,000 users, 5 % sent twice, through one process: nothing lost, made up, reordered or doubled."""

import os
import time

from common import WRITE_KEY, Verdict, arguments, conninfo, query, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from stack import OneProcess

EVENTS, USERS = 100_000, 1_000


def main():
    options = arguments(__doc__)
    run(OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"]),
        options, "one_process")


def run(stack, options, namespace):
    """Sends everything through `stack` and checks both ends."""
    verdict = Verdict()
    namespace = namespace if conninfo() else None
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    try:
        stack.start()
        stack.apply(workspace(sink.port, namespace))
        wait_for_write_key(stack)
        started = time.monotonic()
        sender = Sender(stack.url, WRITE_KEY, EVENTS, USERS, os.path.join(options.work, "sender.ndjson")).run()
        print(f"sent {len(sender.sent)} events, {sender.repeats} of them twice, in {time.monotonic() - started:.1f} s")
        verdict.expect("all at the webhook", sink.wait_for(lambda s: s.distinct() >= EVENTS if len(s.arrived) >= EVENTS
                                                           else False, 180), True)
        print(f"all delivered after {time.monotonic() - started:.1f} s")
        seen = check_deliveries(sender, sink.arrived)
        for fault in ("lost", "ghost", "reordered", "duplicated"):
            verdict.expect(f"webhook: {fault}", seen[fault], 0)
        audit = settle(stack)
        verdict.expect("audit: residual", audit["residual"], 0)
        verdict.expect("audit: accepted", audit["accepted"], EVENTS + sender.repeats)
        if namespace:
            check_warehouse(verdict, namespace)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


def settle(stack):
    """The audit once nothing is pending any more, or the last one after a minute."""
    for _ in range(120):
        audit = stack.audit()
        if audit["pending"] == 0:
            break
        time.sleep(0.5)  # counters are read by the control plane in the background
    return audit


def check_warehouse(verdict, namespace):
    rows, distinct = query(f"select count(*), count(distinct id) from {namespace}.tracks")[0]
    verdict.expect("warehouse: rows", int(rows), EVENTS)
    verdict.expect("warehouse: distinct ids", int(distinct), EVENTS)
    table = query(f"select count(*), count(distinct id) from {namespace}.oracle_event")[0]
    verdict.expect("warehouse: rows of the event's table", [int(n) for n in table], [EVENTS, EVENTS])


if __name__ == "__main__":
    main()
