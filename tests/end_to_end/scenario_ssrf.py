#!/usr/bin/env python3
"""fetch of a transformation reaches no address that is not public: every known trick, in a network namespace of its own
with servers where one must not get to. Needs the right to make namespaces; exits with 77 (skipped) without it."""

import json
import os
import shutil
import subprocess
import sys

from common import Verdict, arguments
from ssrf_addresses import ADDRESSES, PUBLIC, REDIRECTS, VECTORS

NAMESPACE = f"millrace-ssrf-{os.getpid()}"
SCRIPT = """
export async function transformEvent(event) {
  try {
    const answer = await fetchV2(event.url, event.options);
    event.got = answer.status;
    event.body = answer.body;
  } catch (error) {
    event.error = error.message;
  }
  return event;
}
"""


def ip(*command, check=True):
    return subprocess.run(["ip", *command], capture_output=True, text=True, check=check)


class World:
    """The namespace, its servers, and what they counted."""

    def __init__(self):
        self.folder = f"/etc/netns/{NAMESPACE}"
        self.servers = None
        if shutil.which("ip") is None or ip("netns", "add", NAMESPACE, check=False).returncode != 0:
            print("skipped: network namespaces cannot be made here (root and iproute2 are needed)")
            sys.exit(77)
        entered = ip("netns", "exec", NAMESPACE, "true", check=False)
        if entered.returncode != 0:
            self.close()
            print("skipped: network namespaces cannot be entered here: " + entered.stderr.strip())
            sys.exit(77)
        try:
            self.open()
        except BaseException:
            self.close()
            raise

    def open(self):
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "resolv.conf"), "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        ip("-n", NAMESPACE, "link", "set", "lo", "up")
        for address in ADDRESSES:
            ip("-n", NAMESPACE, "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        # What has no server here goes nowhere, but it is begun and so counted.
        ip("-n", NAMESPACE, "route", "add", "default", "dev", "lo")
        helper = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ssrf_world.py")
        self.servers = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, sys.executable, helper],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.servers.stdout.readline().strip() != "ready":
            raise RuntimeError("the servers did not start")

    def close(self):
        if self.servers:
            self.servers.stdin.close()
            self.servers.kill()
            self.servers.wait()
        ip("netns", "del", NAMESPACE, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def counted(self):
        """(connections begun, addresses that accepted one) since the last call."""
        self.servers.stdin.write("?\n")
        self.servers.stdin.flush()
        counts = json.loads(self.servers.stdout.readline())
        return counts["opens"], counts["accepted"]


class Runner:
    def __init__(self, build, work):
        self.binary = os.path.join(os.path.abspath(build), "services/millrace/millrace")
        self.script = os.path.join(work, "transformation.js")
        with open(self.script, "w", encoding="utf-8") as file:
            file.write(SCRIPT)

    def fetch(self, urls, options=None, allow=()):
        """What the script made of each URL: {"got": status} or {"error": text}."""
        lines = "".join(json.dumps({"type": "track", "userId": f"u{i}", "url": url, "options": options or {}}) + "\n"
                        for i, url in enumerate(urls))
        networks = [argument for network in allow for argument in ("--allow-network", network)]
        run = subprocess.run(["ip", "netns", "exec", NAMESPACE, self.binary, "transform", "run", self.script,
                              "--allow-fetch", *networks], input=lines, capture_output=True, text=True, timeout=300,
                             check=False)
        if run.returncode != 0:
            raise RuntimeError(f"millrace transform run: {run.stderr}")
        events = [json.loads(line) for line in run.stdout.splitlines()]
        assert [event["url"] for event in events] == list(urls)
        return events


def refused(verdict, world, runner):
    events = runner.fetch(VECTORS)
    for event in events:
        verdict.expect(f"refused: {event['url']}", event.get("error", f"got {event.get('got')}"),
                       lambda text: not text.startswith("got"))
    verdict.expect("connections begun, and accepted, by all of these", world.counted(), (0, []))
    for options in ({"method": "POST", "body": "x"}, {"headers": {"host": "public.test"}}, {"redirect": "follow"},
                    {"cacheSeconds": 60}):
        events = runner.fetch(VECTORS[:12], options)
        verdict.expect(f"answers with {options}", [event for event in events if "got" in event], [])
    verdict.expect("connections with these options", world.counted(), (0, []))


def redirected(verdict, world, runner):
    urls = [f"http://{PUBLIC}/?to={target}" for target in REDIRECTS]
    events = runner.fetch(urls, {"redirect": "follow"})
    verdict.expect("redirects that were followed to a private address", [e for e in events if "got" in e], [])
    opened, accepted = world.counted()
    verdict.expect("servers that redirects reached beyond the first", sorted(set(accepted)), [PUBLIC])
    verdict.expect("connections begun beyond those to it", opened - len(accepted), 0)
    events = runner.fetch(urls)
    verdict.expect("a redirect is an answer unless asked for more", {e.get("got") for e in events}, {302})
    world.counted()


def rebound(verdict, world, runner):
    """A name that is public when asked first and private from then on."""
    first = runner.fetch(["http://rebind.test/"])[0]
    verdict.expect("the name while it is public", first.get("got", first.get("error")), 200)
    verdict.expect("its server", world.counted(), (1, [PUBLIC]))
    for _ in range(3):
        again = runner.fetch(["http://rebind.test/"])[0]
        verdict.expect("the name once it is private", again.get("error", "").split("reason: ")[-1],
                       "cannot use 127.0.0.1 as IP address for rebind.test")
    verdict.expect("connections to the rebound name", world.counted(), (0, []))
    # A redirect to the same name, which is private by then.
    hop = runner.fetch(["http://hop.test/?to=http://hop.test:8080/"], {"redirect": "follow"})[0]
    opened, accepted = world.counted()
    verdict.expect(f"servers that a redirect to a name that changes reached ({hop.get('got', hop.get('error'))})",
                   (opened - len(accepted), set(accepted)), (0, {PUBLIC}))
    # Nobody listens at the public address there: the private one of the same name must not be tried.
    both = runner.fetch(["http://both.test:81/"])[0]
    verdict.expect("the private one of two addresses", both.get("error", "got an answer"), lambda text: "got" not in text)
    verdict.expect("connections to it", world.counted(), lambda seen: seen[0] <= 1 and seen[1] == [])


def allowed(verdict, world, runner):
    events = runner.fetch(["http://10.1.2.3/", "http://ten.test/", "http://10.2.0.1/", "http://169.254.169.254/"],
                          allow=["10.1.2.0/24"])
    verdict.expect("an allowed network is reached, its neighbours are not", [e.get("got") for e in events],
                   [200, 200, None, None])
    opened, accepted = world.counted()
    verdict.expect("servers reached", (opened, set(accepted)), lambda seen: seen[0] <= 2 and seen[1] == {"10.1.2.3"})
    # Without the guard most vectors get through: the servers do listen, and the test can fail.
    events = runner.fetch(VECTORS, allow=["0.0.0.0/0", "::/0"])
    verdict.expect("vectors that reach a server when all is allowed", sum("got" in e for e in events), lambda n: n >= 25)
    verdict.expect("addresses that then accept", len(set(world.counted()[1])), lambda n: n >= 8)


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    world = World()
    try:
        runner = Runner(options.build, options.work)
        control = runner.fetch(["http://public.test/"])[0]
        verdict.expect("a public address is reached", (control.get("got", control.get("error")), world.counted()),
                       (200, (1, [PUBLIC])))
        refused(verdict, world, runner)
        redirected(verdict, world, runner)
        rebound(verdict, world, runner)
        allowed(verdict, world, runner)
    finally:
        world.close()
    verdict.exit()


main()
