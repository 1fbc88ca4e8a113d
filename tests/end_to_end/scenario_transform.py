#!/usr/bin/env python3
"""Transformations in one process: chains at the source, the connection (rules) and the destination; events that
become none, several or a dead letter; a counter in `store` that stays exact over kill -9; a mended version and a
redrive. The audit balances."""

import json
import os
import threading
import time

from common import WRITE_KEY, Verdict, arguments, conninfo, query, wait_for_write_key, wait_in_force, workspace
from oracle import Sender, Sink
from scenario_one_process import settle
from stack import OneProcess

EVENTS, USERS = 4_000, 40

LIBRARY = "export function tag(event, name) { event.context = {...event.context, [name]: true}; return event; }"

AT_SOURCE = """import {tag} from 'tags';
export function transformEvent(event, metadata) {
  if (event.properties.drop) return;
  const result = tag(event, 'tagged');
  result.context.source = metadata(event).sourceName;
  return event.properties.double ? [result, structuredCopy(result)] : result;
}
function structuredCopy(value) { return JSON.parse(JSON.stringify(value)); }
"""

RULES = "rules: [{rename: {properties.label: properties.text}}]"

COUNT = """export function transformEvent(event) {
  event.properties.count = store.incr('n:' + event.userId);
  if (event.properties.fail) {
    throw new Error('cannot take ' + event.messageId);
  }
  return event;
}
"""


class MarkedSender(Sender):
    """Marks events by their number, so that what is to become of each is known."""

    def _event(self, user, seq, number):
        event = super()._event(user, seq, number)
        event["properties"].update(drop=seq % 7 == 0, double=seq % 11 == 0, fail=seq % 13 == 0)
        return event


class CountingSink(Sink):
    """Keeps what the counter said of each event."""

    def __init__(self, ledger):
        super().__init__(ledger)
        self.counts = []  # (path, userId, messageId, count, whether all chains ran)

    def _take(self, path, body):
        event = json.loads(body)
        with self.changed:
            self.counts.append((path, event["userId"], event["messageId"], event["properties"].get("count"),
                                event["context"].get("tagged") and event["context"].get("source") == "app" and
                                "text" in event["properties"] and "label" not in event["properties"]))
        return super()._take(path, body)


def fate(properties):
    """(events at fan-out, of these failing at the counting destination)"""
    if properties["drop"]:
        return 0, 0
    copies = 2 if properties["double"] else 1
    return copies, copies if properties["fail"] else 0


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"])
    sink = CountingSink(os.path.join(options.work, "sink.ndjson"))
    namespace = "transformed" if conninfo() else None
    document = workspace(sink.port, namespace)
    document["libraries"] = [{"name": "tags", "code": LIBRARY}]
    document["transformations"] = [{"name": "at source", "code": AT_SOURCE}, {"name": "count", "code": COUNT},
                                   {"name": "rename", "kind": "rules", "code": RULES}]
    document["sources"][0]["transformations"] = ["at source"]
    document["connections"][0]["transformations"] = ["rename"]
    document["destinations"][0]["transformations"] = ["count"]
    sender = MarkedSender("http://127.0.0.1:%d" % stack.port, WRITE_KEY, EVENTS, USERS,
                          os.path.join(options.work, "sender.ndjson"), batch=10)
    thread = threading.Thread(target=sender.run)
    try:
        stack.start()
        stack.apply(document)
        wait_for_write_key(stack)
        thread.start()
        for part in (3, 2):
            while len(sender.acknowledged) < EVENTS // part:
                time.sleep(0.01)  # the moment of the kill
            stack.kill()
            stack.start()
        thread.join()
        fates = [fate({"drop": seq % 7 == 0, "double": seq % 11 == 0, "fail": seq % 13 == 0})
                 for _, seq in sender.sent.values()]
        passed = sum(copies for copies, _ in fates)
        failing = sum(failed for _, failed in fates)
        check_first(verdict, stack, sink, passed, failing, sum(1 for copies, _ in fates if copies == 0))
        check_redrive(verdict, stack, sink, passed, failing)
        if namespace:
            rows = query(f"select count(*), count(distinct id) from {namespace}.tracks")[0]
            verdict.expect("warehouse: rows, distinct ids", [int(n) for n in rows], [passed, passed])
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


def distinct(sink):
    return {(user, message, count) for _, user, message, count, _ in sink.counts}


def check_first(verdict, stack, sink, passed, failing, dropped):
    wanted = passed - failing
    verdict.expect("all at the webhook", sink.wait_for(lambda s: len(distinct(s)) >= wanted, 60), True)
    audit = settle(stack)
    verdict.expect("audit: residual", audit["residual"], 0)
    source = audit["sources"][0]
    verdict.expect("audit: dropped at the source", source["dropped"], dropped)
    hook = next(row for row in audit["connections"] if row["destination"] == "hook")
    verdict.expect("audit: dead letters of the connection", hook["dead_lettered"], failing)
    verdict.expect("audit: offered to the connection", hook["accepted"], passed)
    verdict.expect("every event passed all three chains", all(row[4] for row in sink.counts), True)
    verdict.expect("distinct ids at the webhook", len({row[2] for row in sink.counts}), wanted)
    verdict.expect("counts with a gap or twice", wrong_counts(sink), 0)
    letters = stack.api("GET", "/dead-letters?limit=1000")
    verdict.expect("dead letters", len(letters), failing)
    letter = stack.api("GET", "/dead-letters?id=" + letters[0]["id"])[0]
    verdict.expect("its reason", letter["reason"],
                   f"transformation 'count' version 1: Error: cannot take {letter['messageId']}")
    verdict.expect("its stack names the line", letter.get("stack", ""), lambda stack: ":4" in stack)
    verdict.expect("its stage, class, attempts", (letter["stage"], letter["class"], letter["attempts"]),
                   ("processor", "transformation", 1))


def wrong_counts(sink):
    """Each user's counts must be 1, 2, 3, ... in the order of arrival, a repeated delivery aside."""
    wrong, last, seen = 0, {}, set()
    for _, user, message, count, _ in sink.counts:
        if (message, count) in seen:
            continue
        seen.add((message, count))
        wrong += count != last.get(user, 0) + 1
        last[user] = count
    return wrong


def check_redrive(verdict, stack, sink, passed, failing):
    mended = COUNT.replace("throw new Error('cannot take ' + event.messageId);", "event.properties.mended = true;")
    saved = stack.api("PUT", "/transformations/count?publish=true", {"code": mended})
    verdict.expect("version published", saved["script"]["published"]["number"], 2)
    wait_in_force(stack.url, saved["revision"])
    answer = stack.api("POST", "/dead-letters/redrive", {"all": True})
    verdict.expect("redriven", (answer["redriven"], answer["skipped"]), (failing, 0))
    verdict.expect("all at the webhook in the end", sink.wait_for(lambda s: len(distinct(s)) >= passed, 60), True)
    verdict.expect("ids at the webhook", len({row[2] for row in sink.counts}), passed)
    verdict.expect("counts with a gap or twice", wrong_counts(sink), 0)
    audit = settle(stack)
    verdict.expect("audit after the redrive: residual", audit["residual"], 0)
    hook = next(row for row in audit["connections"] if row["destination"] == "hook")
    verdict.expect("audit: dead, delivered", (hook["dead_lettered"], hook["delivered"]), (0, passed))


if __name__ == "__main__":
    main()
