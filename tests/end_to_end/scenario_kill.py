#!/usr/bin/env python3
"""kill -9 of the one process at random moments under load: the oracle's zeros hold."""

import os
import random
import threading
import time

from common import WRITE_KEY, Verdict, arguments, conninfo, query, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import OneProcess

ROUNDS = int(os.environ.get("MILLRACE_KILL_ROUNDS", "6"))
EVENTS_A_ROUND, USERS = 15_000, 200
WINDOW = 2_000  # most that one kill may leave in flight at the webhook


def main():
    options = arguments(__doc__)
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"])

    def kill(_):
        stack.kill()
        stack.start()

    run(stack, kill, options, "killed", ROUNDS, EVENTS_A_ROUND)


def run(stack, kill, options, namespace, rounds, events_a_round, pause=(0.2, 1.2)):
    """Sends while `kill(choice)` kills and restarts something `rounds` times, then checks both ends."""
    verdict = Verdict()
    choice = random.Random(7)
    namespace = namespace if conninfo() else None
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    wanted = events_a_round * rounds
    thread = None
    try:
        stack.start()
        stack.apply(workspace(sink.port, namespace))
        wait_for_write_key(stack)
        sender = Sender(stack.url, WRITE_KEY, wanted, USERS, os.path.join(options.work, "sender.ndjson"), batch=10)
        thread = threading.Thread(target=sender.run)
        thread.start()
        for number in range(rounds):
            time.sleep(choice.uniform(*pause))  # the random moment of the kill
            killed = kill(choice)
            print(f"kill {number + 1} {killed or ''}: {len(sender.acknowledged)} acknowledged", flush=True)
        thread.join()
        verdict.expect("all at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted and s.distinct() >= wanted,
                                                           180), True)
        audit = settle(stack)
        seen = check_deliveries(sender, sink.arrived)
        for fault in ("lost", "ghost", "reordered"):
            verdict.expect(f"webhook: {fault}", seen[fault], 0)
        verdict.expect("webhook: duplicated", seen["duplicated"], lambda n: n <= WINDOW * rounds)
        verdict.expect("audit: pending", audit["pending"], 0)
        verdict.expect("audit: residual", audit["residual"], 0)
        if namespace:
            counts = query(f"select count(*), count(distinct id) from {namespace}.tracks")[0]
            verdict.expect("warehouse: rows, distinct ids", [int(n) for n in counts], [wanted, wanted])
    finally:
        if thread:
            sender.give_up()
            thread.join()
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
