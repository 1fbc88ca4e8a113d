#!/usr/bin/env python3
"""Half of many users are stuck at a tool: the other half passes them, a kill -9 in between; then all is delivered in
order. One hot user of a slow tool does not hold up the others."""

import os
import threading
import time

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import SickTool, balanced
from stack import OneProcess


class HalfStuck(Sender):
    """Odd users are named stuck-N."""

    def _event(self, user, seq, number):
        event = super()._event(user, seq, number)
        event["userId"] = f"stuck-{user}" if user % 2 else f"user-{user}"
        return event


def main():
    options = sick_tool.arguments(__doc__)
    verdict = Verdict()
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["router.allowed_networks=[127.0.0.0/8]"])
    try:
        stack.start()
        stack.apply(sick_tool.workspace([sick_tool.webhook("hook", tool.url("/hook")),
                                         sick_tool.webhook("slow", tool.url("/slow"))],
                                        {"app": ["hook"], "hot": ["slow"]}))
        wait_for_write_key(stack, sick_tool.WRITE_KEY)
        stuck_users(stack, tool, options, verdict)
        hot_user(stack, tool, options, verdict)
        audit = balanced(verdict, stack)
        verdict.expect("audit: pending", audit["pending"], 0)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


def stuck_users(stack, tool, options, verdict):
    users, events = (20_000, 100_000) if options.long else (4_000, 20_000)
    tool.sick["/hook"] = sick_tool.refuses_users("stuck-")
    sender = HalfStuck(stack.url, sick_tool.WRITE_KEY, events, users, os.path.join(options.work, "sender.ndjson"),
                       repeat=0, deadline_s=900)
    thread = threading.Thread(target=sender.run)
    thread.start()
    tool.wait_at("/hook", events // 10)
    stack.kill()
    stack.start()
    thread.join()
    others = sum(user.startswith("user-") for user, _ in sender.sent.values())
    verdict.expect("all of the users that are not stuck", tool.wait_at("/hook", others, 120), True)
    stack.kill()
    stack.start()
    tool.sick.clear()
    verdict.expect("well again: all", tool.wait_at("/hook", events, 300), True)
    seen = check_deliveries(sender, tool.at("/hook"))
    for fault in ("lost", "ghost", "reordered"):
        verdict.expect(f"stuck users: {fault}", seen[fault], 0)
    verdict.expect("stuck users: duplicated by two kills", seen["duplicated"], lambda count: count <= 4000)


def hot_user(stack, tool, options, verdict):
    """A tool that takes 20 ms; one user sends 24,000 events (short: 3,000) before 1,000 others send one each."""
    events = 24_000 if options.long else 3_000
    tool.sick["/slow"] = sick_tool.slow(0.02)
    key = sick_tool.key_of("hot")
    hot = Sender(stack.url, key, events, 1, os.path.join(options.work, "hot.ndjson"), batch=100, connections=1,
                 repeat=0, prefix="hot")
    hot.run()
    others = Sender(stack.url, key, 1000, 1000, os.path.join(options.work, "others.ndjson"), repeat=0, prefix="other")
    started = time.monotonic()
    others.run()
    arrived = tool.wait_for(lambda s: sum(row[0] == "/slow" and row[1].startswith("other") for row in s.arrived)
                            >= len(others.sent), 60)
    verdict.expect("others beside a hot user: all there", arrived, True)
    verdict.expect("others beside a hot user: seconds", round(time.monotonic() - started, 1), lambda s: s <= 20)
    tool.sick.clear()
    verdict.expect("the hot user's own", tool.wait_at("/slow", events + 1000, 300), True)
    for name, sender in (("hot", hot), ("other", others)):
        seen = check_deliveries(sender, [row for row in tool.at("/slow") if row[1].startswith(name)])
        for fault in ("lost", "reordered", "duplicated"):
            verdict.expect(f"{name}: {fault}", seen[fault], 0)


if __name__ == "__main__":
    main()
