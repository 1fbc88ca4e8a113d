"""Cases about time and sick tools: an outage, users that are stuck, a soak."""

import os
import sys
import time

from bench import WRITE_KEY, LoadSink, result, webhook_workspace
from common import conninfo, workspace
from stack import cpu_seconds, rss_mb


def recovery_after_500s(bench):
    """15,000 events of 1,000 users wait while their tool answers 500 for 30 s; `seconds` until all are delivered
    once it answers 200 again."""
    events, sink = 15_000, LoadSink(bench)
    try:
        sink.refuse(500)
        stack = bench.up(webhook_workspace(sink.port))
        started, before = time.monotonic(), cpu_seconds(stack.pids())
        sent = bench.send(stack, events, 20)
        time.sleep(max(0, started + 30 - time.monotonic()))  # the outage
        refused = sink.counts()["refused"]
        sink.refuse(0)
        seconds = sink.wait_for(events)
        cpu = cpu_seconds(stack.pids()) - before
        return {**result(events, cpu, seconds, sent["p50_ms"], sent["p99_ms"], rss_mb(stack.pids())),
                "seconds": round(seconds, 2), "refused": refused}
    finally:
        sink.close()


def stuck_10000(bench):
    """200,000 events of 20,000 users, without and with a tool that answers 500 to 10,000 of them. The figures are
    those with it, of the 100,000 events of the others; `ratio` is the pace of these to that without."""
    events, figures = 200_000, {}
    for refused in (False, True):
        sink = LoadSink(bench)
        try:
            if refused:
                sink.refuse(500, "stuck-")
            stack = bench.up(webhook_workspace(sink.port))
            before, started = cpu_seconds(stack.pids()), time.monotonic()
            sent = bench.send(stack, events, 20, users=20_000, stuck=10_000)
            sink.wait_for(events // 2 if refused else events)
            seconds, cpu = time.monotonic() - started, cpu_seconds(stack.pids()) - before
            figures[refused] = result(events // 2, cpu, seconds, sent["p50_ms"], sent["p99_ms"], rss_mb(stack.pids()))
            stack.stop()
        finally:
            sink.close()
    return {**figures[True], "ratio": round(figures[True]["events_per_second"] / figures[False]["events_per_second"], 3)}


def folder_bytes(path):
    """What a folder takes of the disk."""
    blocks = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(folder, name)).st_blocks
            except FileNotFoundError:
                continue
    return blocks * 512


def slope(points):
    """Of the straight line nearest to the points (x, y)."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread


def soak(bench):
    """MILLRACE_SOAK_RATE events a second (3,000) for MILLRACE_SOAK_MINUTES (30) to a webhook, and to a PostgreSQL if
    MILLRACE_TEST_POSTGRES names one: what grows? Slopes are of the time after the first fifth and a minute at least;
    p99_drift is that of the last third of these minutes to that of the first."""
    minutes, rate = int(os.environ.get("MILLRACE_SOAK_MINUTES", "30")), int(os.environ.get("MILLRACE_SOAK_RATE", "3000"))
    sink, samples, statuses = LoadSink(bench), [], {}
    try:
        document = workspace(sink.port, "soak" if conninfo() else None)
        document["sources"][0]["writeKey"] = WRITE_KEY
        stack = bench.up(document)
        data = os.path.join(stack.folder, "data")
        before, accepted, disk_peak = cpu_seconds(stack.pids()), 0, 0
        for minute in range(1, minutes + 1):
            sent = bench.send(stack, rate * 60, 20, users=10_000, rate=rate)
            accepted += sent["accepted"]
            for status, count in sent["statuses"].items():
                statuses[status] = statuses.get(status, 0) + count
            disk_peak = max(disk_peak, folder_bytes(data))
            samples.append((minute, rss_mb(stack.pids()), len(os.listdir(f"/proc/{stack.process.pid}/fd")),
                            folder_bytes(data) / 1e6, sent["p99_ms"]))
            print("  minute {:3}: {:.1f} MB, {} descriptors, {:.0f} MB on disk, p99 {:.2f} ms".format(*samples[-1]),
                  file=sys.stderr, flush=True)
        sink.wait_for(accepted)
        cpu, audit = cpu_seconds(stack.pids()) - before, stack.audit()
        steady = samples[max(1, minutes // 6):]
        third = max(1, len(steady) // 3)
        p99 = [sum(sample[4] for sample in part) / third for part in (steady[:third], steady[-third:])]
        return {**result(accepted, cpu, minutes * 60, p99[0], p99[1], steady[-1][1]),
                "accepted": accepted, "refused": sum(count for status, count in statuses.items() if status != "200"),
                "residual": audit["residual"],
                "rss_mb_in_10_minutes": round(slope([(s[0], s[1]) for s in steady]) * 10, 2) if len(steady) > 1 else 0,
                "descriptors": [min(s[2] for s in steady), max(s[2] for s in steady)],
                "disk_mb": [round(min(s[3] for s in steady)), round(disk_peak / 1e6)],
                "p99_drift": round(p99[1] / p99[0], 3)}
    finally:
        sink.close()
