#!/usr/bin/env python3
"""A destination is paused, resumed, given another type and deleted while events wait: all is accounted for."""

import os
import subprocess
import time

from common import WRITE_KEY, Verdict, arguments, workspace
from oracle import Sender, Sink
from scenario_one_process import settle
from stack import OneProcess, free_port

EVENTS = 200


class Scenario:
    def __init__(self, options):
        self.verdict = Verdict()
        self.sink = Sink(os.path.join(options.work, "sink.ndjson"))
        self.stack = OneProcess(options.build, os.path.join(options.work, "millrace"),
                                ["router.allowed_networks=[127.0.0.0/8]"])
        self.work = options.work
        self.sent = 0

    def cli(self, *words):
        """Runs the command line; exit code and what it printed."""
        done = subprocess.run([self.stack.program, *words, "--url", self.stack.url, "--data-dir",
                               os.path.join(self.stack.folder, "data")], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def send(self):
        self.sent += 1
        Sender(self.stack.url, WRITE_KEY, EVENTS, 20, os.path.join(self.work, "sender.ndjson"),
               prefix=f"part{self.sent}").run()

    def hook(self):
        return next(one for one in self.stack.api("GET", "/destinations") if one["name"] == "hook")

    def wait(self, what, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.verdict.expect(what, condition(), True)

    def tool_goes_away(self):
        """From now on what comes waits."""
        destination = self.hook()
        destination["config"]["webhookUrl"] = f"http://127.0.0.1:{free_port()}/hook"
        self.stack.api("PUT", "/destinations/" + destination["id"], destination)
        for command, state in (("pause", "paused"), ("resume", "enabled")):
            self.verdict.expect(f"{command}: exit code", self.cli(command, "hook")[0], 0)
            self.verdict.expect(f"{command}: state", self.hook()["status"]["state"], state)
        self.send()
        self.wait("all that came waits", lambda: self.hook()["status"]["waiting"] == EVENTS)
        code, text = self.cli("get", "destinations")
        self.verdict.expect("get destinations: shows it", (code, f"enabled  {EVENTS:>7}" in text), (0, True))
        code, text = self.cli("give-up", "hook", "--user", "nobody", "--dry-run")
        self.verdict.expect("give-up, dry run: says how many wait", (code, f"{EVENTS} events wait for hook" in text),
                            (0, True))

    def refused(self):
        """With events waiting neither a deletion nor another type goes without the flag."""
        file = os.path.join(self.work, "less.json")
        with open(file, "w", encoding="utf-8") as out:
            out.write('{"sources": [{"name": "app"}]}')
        code, text = self.cli("apply", "-f", file, "--prune")
        self.verdict.expect("prune: exit code", code, 1)
        self.verdict.expect("prune: says how many wait", f"for 'hook' {EVENTS} events wait" in text, True)
        code, text = self.cli("apply", "-f", file, "--prune", "--dry-run")
        self.verdict.expect("prune, dry run: says so too", (code, f"loses {EVENTS} waiting events" in text), (0, True))
        try:
            self.stack.api("PUT", "/destinations/" + self.hook()["id"], {"type": "HTTP"})
            refusal = "none"
        except RuntimeError as error:
            refusal = str(error)
        self.verdict.expect("another type: refused", "make one with another id" in refusal, True)
        return file

    def run(self):
        self.stack.start()
        self.stack.apply(workspace(self.sink.port))
        self.send()
        self.verdict.expect("delivered", self.sink.wait_for(lambda s: s.distinct() >= EVENTS, 60), True)
        self.tool_goes_away()
        file = self.refused()
        code, text = self.cli("apply", "-f", file, "--prune", "--give-up-waiting")
        self.verdict.expect("prune with the flag: exit code", code, 0)
        # The same name again is another destination: nothing that was there goes to it.
        self.stack.apply(workspace(self.sink.port))
        self.wait("the deletion is through", lambda: settle(self.stack)["dead_lettered"] == EVENTS)
        self.send()
        self.verdict.expect("delivered to the new one",
                            self.sink.wait_for(lambda s: s.distinct() >= 2 * EVENTS, 60), True)
        audit = settle(self.stack)
        self.verdict.expect("audit", {key: audit[key] for key in ("delivered", "dead_lettered", "pending", "residual")},
                            {"delivered": 2 * EVENTS, "dead_lettered": EVENTS, "pending": 0, "residual": 0})
        self.verdict.expect("each arrived once", len(self.sink.arrived), 2 * EVENTS)


def main():
    scenario = Scenario(arguments(__doc__))
    try:
        scenario.run()
    finally:
        scenario.stack.stop()
    scenario.verdict.exit()


if __name__ == "__main__":
    main()
