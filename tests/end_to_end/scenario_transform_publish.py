#!/usr/bin/env python3
"""Versions of a transformation are published, rolled back and shadowed under load, on Kafka with two processors: no
event is lost, reordered or made by a version that was not in force, and each is in force everywhere within 5 s."""

import json
import os
import sys
import threading
import time

from common import WRITE_KEY, Verdict, arguments, revision_in_force, wait_for_write_key, workspace
from oracle import Sender, Sink, check_deliveries
from scenario_one_process import settle
from stack import Service, Services

RATE, SECONDS, USERS, CONNECTIONS, BATCH = 1_000, 20, 100, 4, 10
SWITCH_S = 5  # within which a version must be in force everywhere


def code(mark):
    return f"export function transformEvent(event) {{ event.properties.version = {json.dumps(mark)}; return event; }}"


class PacedSender(Sender):
    """Sends at a steady rate, and keeps when each event left."""

    def __init__(self, *rest, **named):
        super().__init__(*rest, **named)
        self.left = {}
        self.started = time.monotonic()
        self.batches = {}

    def _send_until_accepted(self, index, batch):
        number = self.batches[index] = self.batches.get(index, 0) + 1
        time.sleep(max(0, self.started + number * BATCH * CONNECTIONS / RATE - time.monotonic()))  # the pace
        now = time.time()
        for event in batch:
            self.left.setdefault(event["messageId"], now)
        super()._send_until_accepted(index, batch)


class VersionSink(Sink):
    def __init__(self, ledger):
        super().__init__(ledger)
        self.versions = []  # (messageId, version, time)

    def _take(self, path, body):
        event = json.loads(body)
        with self.changed:
            self.versions.append((event["messageId"], event["properties"].get("version"), time.time()))
        return super()._take(path, body)


class Publisher:
    """Changes the version in force, and keeps from when to when each mark was."""

    def __init__(self, stack, processors):
        self.stack, self.processors = stack, processors
        self.periods = [["1", time.time(), float("inf")]]  # mark, from, to
        self.slowest = 0.0
        self.number = 1

    def publish(self):
        self.number += 1
        mark = str(self.number)
        self._change(mark, lambda: self.stack.api("PUT", "/transformations/mark?publish=true", {"code": code(mark)}))

    def roll_back(self):
        before = self.periods[-2][0]
        self._change(before, lambda: self.stack.api("POST", "/transformations/mark/rollback", {}))

    def shadow(self):
        saved = self.stack.api("PUT", "/transformations/mark", {"code": code("shadow")})
        version = saved["script"]["latest"]["number"]
        answer = self.stack.api("POST", "/transformations/mark/shadow", {"version": str(version), "permille": 500})
        self._wait(answer["revision"])

    def clear_shadow(self):
        self._wait(self.stack.api("DELETE", "/transformations/mark/shadow")["revision"])

    def _change(self, mark, call):
        began = time.time()
        answer = call()
        self.periods[-1][2] = time.time()
        self.periods.append([mark, began, float("inf")])
        self._wait(answer["revision"])

    def _wait(self, revision):
        started = time.monotonic()
        while any(revision_in_force(f"http://127.0.0.1:{p.port}") < int(revision) for p in self.processors):
            if time.monotonic() - started > 30:
                raise RuntimeError(f"revision {revision} is not in force everywhere")
            time.sleep(0.02)
        self.slowest = max(self.slowest, time.monotonic() - started)

    def was_in_force(self, mark, left, arrived):
        """Whether `mark` was in force, or had not been gone for longer than switching may take, at some time
        between an event's leaving and its arrival."""
        return any(mark == one and left <= to + SWITCH_S and arrived >= begin for one, begin, to in self.periods)


def main():
    options = arguments(__doc__)
    brokers = os.environ.get("MILLRACE_TEST_KAFKA")
    if not brokers:
        sys.exit("MILLRACE_TEST_KAFKA is not set: this scenario needs a broker")
    verdict = Verdict()
    stack = Services(options.build, os.path.join(options.work, "services"), brokers)
    stack.others = [service for service in stack.others if service.name != "warehouse-loader"]
    stack.others.append(Service(stack, "processor", "processor-1"))
    sink = VersionSink(os.path.join(options.work, "sink.ndjson"))
    document = workspace(sink.port)
    document["transformations"] = [{"name": "mark", "code": code("1")}]
    document["destinations"][0]["transformations"] = ["mark"]
    thread = None
    try:
        stack.start()
        stack.apply(document)
        wait_for_write_key(stack)
        publisher = Publisher(stack, [service for service in stack.others if service.name == "processor"])
        warm = Sender(stack.url, WRITE_KEY, 100, USERS, os.path.join(options.work, "warm.ndjson"), repeat=0, prefix="warm")
        warm.run()
        verdict.expect("the first events arrive", sink.wait_for(lambda s: len(s.arrived) >= 100, 60), True)
        sink.arrived.clear()
        sink.versions.clear()
        sender = PacedSender(stack.url, WRITE_KEY, RATE * SECONDS, USERS, os.path.join(options.work, "sender.ndjson"),
                             batch=BATCH, connections=CONNECTIONS, repeat=0)
        thread = threading.Thread(target=sender.run)
        thread.start()
        actions = [publisher.publish, publisher.publish, publisher.roll_back, publisher.shadow, publisher.publish,
                   publisher.clear_shadow, publisher.publish, publisher.roll_back]
        for number, action in enumerate(actions):
            while thread.is_alive() and len(sender.acknowledged) < RATE * SECONDS * (number + 1) // (len(actions) + 1):
                time.sleep(0.02)  # spread over the load
            action()
            print(f"{action.__name__}: {publisher.periods[-1][0]} in force, {len(sender.acknowledged)} acknowledged",
                  flush=True)
        thread.join()
        wanted = len(sender.sent)
        verdict.expect("all at the webhook", sink.wait_for(lambda s: len(s.arrived) >= wanted, 60), True)
        audit = settle(stack)
        check(verdict, sender, sink, publisher, audit)
        report = stack.api("GET", "/transformations/mark/report")
        verdict.expect("events compared with a shadow", sum(int(one["compared"]) for one in report["shadows"]),
                       lambda n: n > 0)
    finally:
        if thread:
            thread.join()
        stack.stop()
    verdict.exit()


def check(verdict, sender, sink, publisher, audit):
    seen = check_deliveries(sender, sink.arrived)
    for fault in ("lost", "ghost", "reordered", "duplicated"):
        verdict.expect(f"webhook: {fault}", seen[fault], 0)
    verdict.expect("audit: residual", audit["residual"], 0)
    verdict.expect("slowest switch on both processors, s", round(publisher.slowest, 2), lambda s: s <= SWITCH_S)
    wrong = [row for row in sink.versions if not publisher.was_in_force(row[1], sender.left[row[0]], row[2])]
    verdict.expect("events of a version not in force", len(wrong), 0)
    verdict.expect("versions seen", sorted({row[1] for row in sink.versions}), sorted({one[0] for one in publisher.periods}))


if __name__ == "__main__":
    main()
