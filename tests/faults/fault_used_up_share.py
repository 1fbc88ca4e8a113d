#!/usr/bin/env python3
"""A dead destination uses up its share of a small log: it alone gives up its oldest events, by name; all others go
on, and no event is refused. Deleting it frees what it held."""

import os
import time

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import SickTool, balanced
from stack import OneProcess

QUOTA = 64 << 20
USERS = 500


def main():
    options = sick_tool.arguments(__doc__)
    verdict = Verdict()
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"),
                       ["router.allowed_networks=[127.0.0.0/8]", f"event_log.local.quota_bytes={QUOTA}"])
    events = 400_000 if options.long else 120_000  # of some 450 bytes: far more than the log holds
    tool.sick["/dead"] = sick_tool.fails()
    try:
        stack.start()
        destinations = [sick_tool.webhook(name, tool.url("/" + name)) for name in ("dead", "well")]
        stack.apply(sick_tool.workspace(destinations))
        wait_for_write_key(stack, sick_tool.WRITE_KEY)
        sender = Sender(stack.url, sick_tool.WRITE_KEY, events, USERS, os.path.join(options.work, "sender.ndjson"),
                        batch=20, repeat=0, deadline_s=900)
        sender.run()
        verdict.expect("refused requests", sender.failures, 0)
        verdict.expect("all at the well one", tool.wait_at("/well", events, 120), True)
        seen = check_deliveries(sender, tool.at("/well"))
        for fault in ("lost", "reordered", "duplicated"):
            verdict.expect(f"well: {fault}", seen[fault], 0)
        audit = balanced(verdict, stack, settled=lambda a: a["pending"] > 0)
        given_up = connection(audit, "dead")["dead_lettered"]
        waiting = connection(audit, "dead")["pending"]
        verdict.expect("given up and waiting make all of the dead one's events", given_up + waiting, events)
        verdict.expect("given up", given_up, lambda count: count > 0)
        verdict.expect("waiting", waiting, lambda count: count > 0)
        tool.sick.clear()
        verdict.expect("well again: the rest is delivered", tool.wait_at("/dead", waiting, 120), True)
        seen = check_deliveries(sender, tool.at("/dead"))
        verdict.expect("dead: reordered", seen["reordered"], 0)
        verdict.expect("dead: lost are those given up", seen["lost"], given_up)
        audit = balanced(verdict, stack)
        verdict.expect("audit: pending", audit["pending"], 0)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


def connection(audit, destination):
    """The account of the connection to the destination of that name."""
    for account in audit["connections"]:
        if destination in (account.get("destination"), account.get("destinationName"), account.get("destinationId")):
            return account
    raise RuntimeError(f"the audit has no connection to {destination}: {audit}")


if __name__ == "__main__":
    main()
