#!/usr/bin/env python3
"""A tool refuses one user for a week of simulated time, with a log of 64 MiB: all other events go through each day,
over restarts, and the one user's become dead letters when they are too old."""

import os

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import FakeClock, SickTool, balanced
from stack import OneProcess

QUOTA = 64 << 20
USERS = 200


def main():
    options = sick_tool.arguments(__doc__)
    if FakeClock.missing():
        sick_tool.skip("skipped: libfaketime is not installed (deploy/install-deps.sh --tests)")
    verdict = Verdict()
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    clock = FakeClock(options.work)
    stack = OneProcess(options.build, os.path.join(options.work, "up"),
                       ["router.allowed_networks=[127.0.0.0/8]", f"event_log.local.quota_bytes={QUOTA}",
                        "router.retry_max_ms=2000"], clock.environment())
    tool.sick["/hook"] = sick_tool.refuses_users("user-0")
    a_day = 60_000 if options.long else 15_000
    sent = 0
    senders = []
    try:
        for day in range(8):
            clock.move_to(24 * day)
            stack.start()
            stack.apply(sick_tool.workspace([sick_tool.webhook("hook", tool.url("/hook"))]))
            wait_for_write_key(stack, sick_tool.WRITE_KEY)
            sender = Sender(stack.url, sick_tool.WRITE_KEY, a_day, USERS, os.path.join(options.work, "sender.ndjson"),
                            batch=20, repeat=0, prefix=f"day{day}")
            sender.run()
            senders.append(sender)
            others = sum(user != "user-0" for user, _ in sender.sent.values())
            sent += others
            verdict.expect(f"day {day}: refused requests", sender.failures, 0)
            verdict.expect(f"day {day}: all of the others", tool.wait_at("/hook", sent, 120), True)
            verdict.expect(f"day {day}: exit code after SIGTERM", stack.stop(), 0)
        stack.start()
        audit = balanced(verdict, stack, settled=lambda a: a["delivered"] == sent)
        for day, sender in enumerate(senders):
            seen = check_deliveries(sender, [row for row in tool.arrived if row[1].startswith(f"day{day}-")])
            verdict.expect(f"day {day}: reordered, duplicated", [seen["reordered"], seen["duplicated"]], [0, 0])
        poisoned = sum(user == "user-0" for sender in senders for user, _ in sender.sent.values())
        verdict.expect("delivered, and the one user's waiting or given up for their age",
                       [audit["delivered"], audit["pending"] + audit["dead_lettered"]], [sent, poisoned])
        verdict.expect("of them too old", audit["dead_lettered"], lambda count: count > 0)
        tool.sick.clear()
        verdict.expect("well again: the rest", tool.wait_at("/hook", sent + audit["pending"], 60), True)
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
