#!/usr/bin/env python3
"""Unmodified published SDKs send every call type; each event arrives at the webhook and in PostgreSQL, in order."""

import os
import shutil
import subprocess
import sys

from common import WRITE_KEY, Verdict, arguments, conninfo, query, wait_for_write_key, workspace
from oracle import Sink
from scenario_one_process import settle
from stack import OneProcess, Services

CALLS = ["identify", "track", "page", "screen", "group", "alias"]
TABLES = ["identifies", "tracks", "pages", "screens", "groups", "aliases", "order_completed"]
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sdks")


def install(work):
    """Installs the SDKs from npm and PyPI; the Node.js folder and the Python to use."""
    node = os.path.join(work, "node")
    shutil.copytree(HERE, node)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=node, check=True)
    python = os.path.join(work, "venv/bin/python")
    subprocess.run([sys.executable, "-m", "venv", os.path.join(work, "venv")], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", os.path.join(HERE, "requirements.txt")], check=True)
    return node, python


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    sdks = install(options.work)
    check(verdict, OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"]),
          sdks, options, "sdks")
    if brokers := os.environ.get("MILLRACE_TEST_KAFKA"):
        print("the same through separate services on Kafka")
        check(verdict, Services(options.build, os.path.join(options.work, "services"), brokers), sdks, options,
              "sdks_services")
    verdict.exit()


def check(verdict, stack, sdks, options, namespace):
    """Runs every SDK against `stack` and looks at the webhook and the tables."""
    node, python = sdks
    sink = Sink(os.path.join(options.work, f"{namespace}.ndjson"))
    namespace = namespace if conninfo() else None
    with_url = lambda url: {  # noqa: E731
        "node-rudderstack": ["node", "send_rudderstack.js", url, WRITE_KEY, "node-rudderstack"],
        "node-segment": ["node", "send_segment.js", url, WRITE_KEY, "node-segment"],
        "python-rudderstack": [python, "send.py", "rudderstack", url, WRITE_KEY, "python-rudderstack"],
        "python-segment": [python, "send.py", "segment", url, WRITE_KEY, "python-segment"],
    }
    try:
        stack.start()
        stack.apply(workspace(sink.port, namespace))
        wait_for_write_key(stack)
        programs = with_url(stack.url)
        for name, command in programs.items():
            done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=60, check=False)
            verdict.expect(f"{name}: exit code", done.returncode, 0)
        wanted = len(programs) * len(CALLS)
        sink.wait_for(lambda s: len(s.arrived) >= wanted, 30)
        types = {row[1]: sink.bodies[row[1]].get("type") for row in sink.arrived}
        for name in programs:
            verdict.expect(f"{name}: calls at the webhook, in order",
                           [types[row[1]] for row in sink.arrived if row[2] == name], CALLS)
        verdict.expect("audit: residual", settle(stack)["residual"], 0)
        if namespace:
            for table in TABLES:
                count = query(f"select count(*) from {namespace}.{table}")[0][0]
                verdict.expect(f"rows in {table}", int(count), len(programs))
            verdict.expect("rows in users", int(query(f"select count(*) from {namespace}.users")[0][0]), len(programs))
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
