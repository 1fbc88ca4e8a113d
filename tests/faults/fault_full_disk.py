#!/usr/bin/env python3
"""The disk is full for a while under load: Millrace refuses with 503, stays alive, goes on by itself when there is room
again, and ends cleanly by SIGTERM also while it is full. The same with a limit to the size of files."""

import os
import time

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import Background, SickTool, balanced
from stack import OneProcess

DISK_MB = 192


def main():
    options = sick_tool.arguments(__doc__)
    verdict = Verdict()
    disk = os.path.join(os.path.abspath(options.work), "disk")
    if not sick_tool.mounted_tmpfs(disk, DISK_MB):
        sick_tool.skip("skipped: a file system of its own (tmpfs) cannot be mounted here")
    tool = SickTool(os.path.join(options.work, "tool.ndjson"))
    stack = OneProcess(options.build, os.path.join(disk, "up"), ["router.allowed_networks=[127.0.0.0/8]"])
    sender = None
    try:
        stack.start()
        stack.apply(sick_tool.workspace([sick_tool.webhook("hook", tool.url("/hook"))]))
        wait_for_write_key(stack, sick_tool.WRITE_KEY)
        events = 200_000 if options.long else 60_000
        sender = Sender(stack.url, sick_tool.WRITE_KEY, events, 300, os.path.join(options.work, "sender.ndjson"),
                        repeat=0, deadline_s=600)
        work = Background(lambda _stopping: sender.run())
        tool.wait_at("/hook", events // 6)
        filler = fill(disk)
        time.sleep(60 if options.long else 10)  # how long it is full
        verdict.expect("alive while the disk is full", stack.process.poll(), None)
        refused = sender.failures
        os.unlink(filler)
        work.stop()
        verdict.expect("refused while it was full", refused, lambda count: count > 0)
        verdict.expect("all delivered", tool.wait_at("/hook", events, 120), True)
        seen = check_deliveries(sender, tool.at("/hook"))
        for fault in ("lost", "ghost", "reordered"):
            verdict.expect(fault, seen[fault], 0)
        audit = balanced(verdict, stack)
        verdict.expect("audit: pending", audit["pending"], 0)
        filler = fill(disk)
        verdict.expect("exit code after SIGTERM on a full disk", stack.stop(), 0)
        os.unlink(filler)
        stack.start()
        balanced(verdict, stack)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        if sender:
            sender.give_up()
        stack.stop()
        sick_tool.unmounted(disk)
    verdict.exit()


def fill(disk):
    """Writes until nothing more goes; the file's path."""
    path = os.path.join(disk, "filler")
    with open(path, "wb", buffering=0) as file:
        block = b"\1" * 65536
        while True:
            try:
                file.write(block)
            except OSError:
                if len(block) == 1:
                    return path
                block = block[:max(1, len(block) // 16)]


if __name__ == "__main__":
    main()
