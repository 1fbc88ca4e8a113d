#!/usr/bin/env python3
"""40 destinations, 20 of them dead in five ways: the other 20 keep their throughput and their latency, in order."""

import os
import time

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import SickTool, balanced, percentile
from stack import OneProcess

USERS, RATE = 100, 60  # events a second, each for 40 destinations
WELL, DEAD = [f"/well-{i}" for i in range(20)], [f"/dead-{i}" for i in range(20)]
SICKNESSES = [("500", sick_tool.fails()), ("hangs", sick_tool.hangs), ("no such host", None),
              ("throttles for a year", sick_tool.throttles(sick_tool.YEAR_S)),
              ("throttles with 0", sick_tool.throttles(0))]


def main():
    options = sick_tool.arguments(__doc__)
    verdict = Verdict()
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["router.allowed_networks=[127.0.0.0/8]"])
    seconds = 60 if options.long else 12
    try:
        stack.start()
        apply(stack, tool, sick=False)
        alone = phase(stack, tool, options, "alone", seconds)
        make_sick(tool)
        apply(stack, tool, sick=True)
        phase(stack, tool, options, "falling", 5)  # the circuits open
        beside = phase(stack, tool, options, "beside", seconds)
        print(f"alone: {alone}, beside 20 dead ones: {beside}")
        verdict.expect("throughput of the well ones, of that without dead ones", round(beside[0] / alone[0], 3),
                       lambda share: share >= 0.95)
        # One millisecond of a shared machine is no delay by a neighbour.
        verdict.expect("p99 of the well ones, milliseconds, to that without dead ones", [beside[1], alone[1]],
                       lambda p99: p99[0] <= max(1.2 * p99[1], p99[1] + 5))
        for path in WELL:
            for name, sender in phase.senders.items():
                seen = check_deliveries(sender, [row for row in tool.at(path) if row[1].startswith(name)])
                for fault in ("lost", "reordered", "duplicated"):
                    if seen[fault]:
                        verdict.expect(f"{path}, {name}: {fault}", seen[fault], 0)
        storm = {path: tool.tried.get(path, 0) for path in DEAD}
        verdict.expect("requests to the one that throttles with 0, a second",
                       round(storm[DEAD[4]] / (seconds + 5), 1), lambda rate: rate < 50)
        tool.sick.clear()
        apply(stack, tool, sick=False)
        total = sum(len(sender.sent) for sender in phase.senders.values())
        for path in DEAD:
            verdict.expect(f"{path} well again: all there", tool.wait_at(path, total, 90), True)
        audit = balanced(verdict, stack)
        verdict.expect("audit: pending", audit["pending"], 0)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


def make_sick(tool):
    for number, path in enumerate(DEAD):
        behaviour = SICKNESSES[number % len(SICKNESSES)][1]
        if behaviour:
            tool.sick[path] = behaviour


def apply(stack, tool, sick):
    """The dead ones without a host get theirs back when they are well."""
    destinations = [sick_tool.webhook(path[1:], tool.url(path)) for path in WELL]
    for number, path in enumerate(DEAD):
        nowhere = sick and SICKNESSES[number % len(SICKNESSES)][1] is None
        destinations.append(sick_tool.webhook(path[1:], f"http://no-such-host.invalid{path}" if nowhere
                                              else tool.url(path)))
    stack.apply(sick_tool.workspace(destinations))
    wait_for_write_key(stack, sick_tool.WRITE_KEY)


def phase(stack, tool, options, name, seconds):
    """Sends at a fixed rate for a time; (deliveries a second at the well ones, p99 from sent to delivered, ms)."""
    sender = Paced(stack.url, sick_tool.WRITE_KEY, RATE * seconds, USERS, os.path.join(options.work, name + ".ndjson"),
                   batch=1, connections=4, repeat=0, prefix=name)
    phase.senders[name] = sender
    started = time.monotonic()
    sender.run()
    for path in WELL:
        if not tool.wait_for(lambda s, p=path: sum(row[0] == p and row[1].startswith(name) for row in s.arrived)
                             >= len(sender.sent), 60):
            raise RuntimeError(f"{path} does not have all of {name} after 60 s")
    took = time.monotonic() - started
    rows = [row for path in WELL for row in tool.at(path) if row[1].startswith(name)]
    delays = [(row[4] - sender.sent_at[row[1]]) * 1000 for row in rows]
    return round(len(rows) / took, 1), round(percentile(delays, 0.99), 2)


phase.senders = {}


class Paced(Sender):
    """A sender that keeps to RATE and notes when each event left."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sent_at = {}

    def _send_until_accepted(self, index, batch):
        began = self.__dict__.setdefault("_began", {}).setdefault(index, [time.monotonic(), 0])
        began[1] += 1
        time.sleep(max(0.0, began[0] + began[1] * self.connections / RATE - time.monotonic()))  # the pace
        for event in batch:
            self.sent_at[event["messageId"]] = time.time()
        super()._send_until_accepted(index, batch)


if __name__ == "__main__":
    main()
