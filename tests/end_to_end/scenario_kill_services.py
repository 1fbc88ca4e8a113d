#!/usr/bin/env python3
"""kill -9 of each separate service in turn, on Kafka, under load: the oracle's zeros hold."""

import os
import sys

from common import arguments
from scenario_kill import run
from stack import Services

# The issue asks for 20 rounds; a test run does each service once. A rebalance costs a session timeout.
ROUNDS = int(os.environ.get("MILLRACE_KILL_ROUNDS", "5"))


def main():
    options = arguments(__doc__)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if not brokers:
        sys.exit("MILLRACE_TEST_KAFKA is not set: this scenario needs a broker")
    stack = Services(options.build, os.path.join(options.work, "services"), brokers)
    turn = []

    def kill(_):
        victims = stack.all()
        victim = victims[len(turn) % len(victims)]
        turn.append(victim)
        victim.kill()
        victim.start().wait_ready()
        return victim.instance

    run(stack, kill, options, "killed_services", ROUNDS, 20_000, pause=(0.3, 1.5))


if __name__ == "__main__":
    main()
