#!/usr/bin/env python3
"""30 simulated days at the default quota: events each day, a restart and a moved clock between days. All is accepted
and delivered, and neither the disk nor the stores grow with the days."""

import os

import sick_tool
from common import WRITE_KEY, Verdict, conninfo, query, wait_for_write_key, workspace
from oracle import Sender, check_deliveries
from sick_tool import FakeClock, SickTool, balanced
from stack import OneProcess

USERS = 1000


def main():
    options = sick_tool.arguments(__doc__)
    if FakeClock.missing():
        sick_tool.skip("skipped: libfaketime is not installed (deploy/install-deps.sh --tests)")
    days, a_day = (30, 100_000) if options.long else (10, 8_000)
    verdict = Verdict()
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    clock = FakeClock(options.work)
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["router.allowed_networks=[127.0.0.0/8]"],
                       clock.environment())
    namespace = "month" if conninfo() else None
    senders, disk = [], []
    try:
        for day in range(days):
            clock.move_to(24 * day)
            stack.start()
            stack.apply(workspace(tool.port, namespace))
            wait_for_write_key(stack)
            sender = Sender(stack.url, WRITE_KEY, a_day, USERS, os.path.join(options.work, "sender.ndjson"),
                            batch=20, prefix=f"day{day}")
            sender.run()
            senders.append(sender)
            if not tool.wait_at("/hook", a_day * (day + 1), 120):
                verdict.expect(f"day {day}: all delivered", False, True)
            if sender.failures:
                verdict.expect(f"day {day}: refused requests", sender.failures, 0)
            audit = balanced(Quiet(verdict), stack)
            disk.append(folders(os.path.join(stack.folder, "data")))
            print(f"day {day}: {len(sender.sent)} events and {sender.repeats} repeats; disk in MB: "
                  + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(disk[-1].items())), flush=True)
            verdict.expect(f"day {day}: exit code after SIGTERM", stack.stop(), 0)
        total = sum(len(sender.sent) + sender.repeats for sender in senders)
        verdict.expect("accepted, pending, residual", [audit["accepted"], audit["pending"], audit["residual"]],
                       [total, 0, 0])
        for day, sender in enumerate(senders):
            seen = check_deliveries(sender, [row for row in tool.arrived if row[1].startswith(f"day{day}-")])
            wrong = {fault: seen[fault] for fault in ("lost", "reordered", "duplicated") if seen[fault]}
            if wrong:
                verdict.expect(f"day {day}", wrong, {})
        if namespace:
            rows = query(f"select count(*), count(distinct id) from {namespace}.tracks")[0]
            verdict.expect("warehouse: rows, distinct ids", [int(n) for n in rows], [a_day * days] * 2)
        first, last = sum(disk[days // 3].values()), sum(disk[-1].values())
        verdict.expect("disk of the last day to that of a third of the time, MB",
                       [round(last / 1e6, 1), round(first / 1e6, 1)], lambda mb: mb[0] <= mb[1] * 1.25 + 16)
    finally:
        stack.stop()
    verdict.exit()


class Quiet:
    """Passes on only what is wrong."""

    def __init__(self, verdict):
        self.verdict = verdict

    def expect(self, what, seen, wanted):
        if seen != wanted:
            self.verdict.expect(what, seen, wanted)


def folders(path):
    """Bytes that each part of the data folder takes of the disk."""
    sizes = {}
    for folder, _, names in os.walk(path):
        part = os.path.relpath(folder, path).split(os.sep)[0]
        for name in names:
            key = (name.split("-wal")[0] if part == "." else part)
            sizes[key] = sizes.get(key, 0) + os.lstat(os.path.join(folder, name)).st_blocks * 512
    return sizes


if __name__ == "__main__":
    main()
