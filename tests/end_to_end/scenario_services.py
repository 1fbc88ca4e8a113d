#!/usr/bin/env python3
"""The volume scenario through separate services on a real Kafka broker, two of each: the same zeros."""

import os
import sys

from common import arguments
from scenario_one_process import run
from stack import Services


def main():
    options = arguments(__doc__)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if not brokers:
        sys.exit("MILLRACE_TEST_KAFKA is not set: this scenario needs a broker")
    run(Services(options.build, os.path.join(options.work, "services"), brokers, each=2), options, "services")


if __name__ == "__main__":
    main()
