#!/usr/bin/env python3
"""The one process, then each service on Kafka, stands still (SIGSTOP) for a while under load: nothing is lost, made up or
out of order, and no event is counted twice."""

import os
import signal
import time

import sick_tool
from common import Verdict, wait_for_write_key
from oracle import Sender, check_deliveries
from sick_tool import Background, SickTool, balanced
from stack import OneProcess, Services


def main():
    options = sick_tool.arguments(__doc__)
    verdict = Verdict()
    seconds = 30 if options.long else 6
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["router.allowed_networks=[127.0.0.0/8]"])
    case(stack, lambda: [("millrace", stack.process)], options, verdict, "one process", seconds)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if brokers and options.long:
        services = Services(options.build, os.path.join(options.work, "services"), brokers, each=2)
        case(services, lambda: [(service.instance, service.process) for service in services.others
                                if service.instance.endswith("-0")], options, verdict, "services", seconds)
    elif options.long:
        print("skipped: services, as MILLRACE_TEST_KAFKA names no broker")
    verdict.exit()


def case(stack, processes, options, verdict, name, seconds):
    tool = SickTool(os.path.join(options.work, name.replace(" ", "-") + ".ndjson"))
    sender = None
    try:
        stack.start()
        stack.apply(sick_tool.workspace([sick_tool.webhook("hook", tool.url("/hook"))]))
        wait_for_write_key(stack, sick_tool.WRITE_KEY)
        targets = processes()
        events = 20_000 * len(targets)
        sender = Sender(stack.url, sick_tool.WRITE_KEY, events, 200, os.path.join(options.work, "sender.ndjson"),
                        repeat=0, deadline_s=600, prefix=name[:3])
        work = Background(lambda _stopping: sender.run())
        for number, (instance, process) in enumerate(targets):
            tool.wait_at("/hook", 2000 + 10_000 * number)
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)  # how long it stands
            process.send_signal(signal.SIGCONT)
            print(f"{name}: {instance} stood for {seconds} s", flush=True)
        work.stop()
        verdict.expect(f"{name}: all delivered", tool.wait_at("/hook", events, 180), True)
        seen = check_deliveries(sender, tool.at("/hook"))
        for fault in ("lost", "ghost", "reordered"):
            verdict.expect(f"{name}: {fault}", seen[fault], 0)
        audit = balanced(verdict, stack)
        verdict.expect(f"{name}: pending", audit["pending"], 0)
        verdict.expect(f"{name}: exit code after SIGTERM", stack.stop(), 0)
    finally:
        if sender:
            sender.give_up()
        stack.stop()


if __name__ == "__main__":
    main()
