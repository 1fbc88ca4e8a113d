#!/usr/bin/env python3
"""kill -9 of the one process at random moments under load: the oracle's zeros hold."""

import os
import random
import threading
import time

from common import WRITE_KEY, Verdict, arguments, conninfo, query, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import OneProcess

ROUNDS = int(os.environ.get("MILLRACE_KILL_ROUNDS", "6"))
EVENTS_A_ROUND, USERS = 15_000, 200
WINDOW = 2_000  # most that one kill may leave in flight at the webhook


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    choice = random.Random(7)
    namespace = "killed" if conninfo() else None
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["router.allowed_networks=[127.0.0.0/8]"])
    stack.start()
    stack.apply(workspace(sink.port, namespace))
    sender = Sender(stack.url, WRITE_KEY, EVENTS_A_ROUND * ROUNDS, USERS, os.path.join(options.work, "sender.ndjson"),
                    batch=10)
    thread = threading.Thread(target=sender.run)
    try:
        thread.start()
        for number in range(ROUNDS):
            time.sleep(choice.uniform(0.2, 1.2))  # the random moment of the kill
            stack.kill()
            stack.start()
            print(f"killed and restarted {number + 1} times, {len(sender.acknowledged)} acknowledged", flush=True)
        thread.join()
        wanted = EVENTS_A_ROUND * ROUNDS
        verdict.expect("all at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted and s.distinct() >= wanted,
                                                           120), True)
        audit = settle(stack)
        seen = check_deliveries(sender, sink.arrived)
        for fault in ("lost", "ghost", "reordered"):
            verdict.expect(f"webhook: {fault}", seen[fault], 0)
        verdict.expect("webhook: duplicated", seen["duplicated"], lambda n: n <= WINDOW * ROUNDS)
        verdict.expect("audit: residual", audit["residual"], 0)
        if namespace:
            counts = query(f"select count(*), count(distinct id) from {namespace}.tracks")[0]
            verdict.expect("warehouse: rows, distinct ids", [int(n) for n in counts], [wanted, wanted])
    finally:
        thread.join()
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()
