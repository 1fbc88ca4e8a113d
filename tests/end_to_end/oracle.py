"""The oracle: a sender and a sink that keep ledgers, and a checker that compares them.

The sender writes a line before each request and one after each answer; the sink writes what arrived. From
both the checker computes what was lost, made up (ghost), reordered, duplicated. Python's standard library
only.
"""

import asyncio
import base64
import http.client
import json
import random
import socket
import threading
import time
import urllib.parse


class Sender:
    """Sends `events` track calls of `users` users over `connections` connections, in batches.

    One user's events go over one connection, in order; a batch without an answer of 200 is sent again
    until it has one, as SDKs do. `repeat` of the events are sent a second time later, with the same
    messageId. `acknowledged` holds messageId -> (user, seq) of events in batches answered with 200,
    `sent` that of all that ever left.
    """

    def __init__(self, url, write_key, events, users, ledger, batch=20, connections=8, repeat=0.05, seed=1,
                 deadline_s=600, event_name="Oracle Event", prefix="m"):
        self.url = urllib.parse.urlsplit(url)
        self.auth = "Basic " + base64.b64encode(f"{write_key}:".encode()).decode()
        self.events, self.users, self.batch = events, users, batch
        self.connections, self.repeat, self.seed = connections, repeat, seed
        self.event_name, self.prefix = event_name, prefix
        self.deadline = time.monotonic() + deadline_s
        self.ledger = open(ledger, "a", buffering=1)
        self.lock = threading.Lock()
        self.sent, self.acknowledged = {}, {}
        self.requests = self.failures = self.repeats = 0
        self.error = None

    def run(self):
        # Daemons: a scenario that is told to end does not wait for what they still would send.
        threads = [threading.Thread(target=self._guard, args=(i,), daemon=True) for i in range(self.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.ledger.close()
        if self.error:
            raise self.error
        return self

    def give_up(self):
        """Ends run(), which then raises unless all is sent."""
        self.deadline = 0

    def _guard(self, index):
        try:
            self._connection(index)
        except Exception as error:  # shown by run()
            self.error = error

    def _connection(self, index):
        choice = random.Random(self.seed * 1000 + index)
        users = [u for u in range(self.users) if u % self.connections == index]
        share = self.events // self.connections + (1 if index < self.events % self.connections else 0)
        seqs = dict.fromkeys(users, 0)
        again, made = [], 0
        while made < share or again:
            batch = []
            while len(batch) < self.batch and made < share:
                user = choice.choice(users)
                seqs[user] += 1
                made += 1
                event = self._event(user, seqs[user], made)
                batch.append(event)
                if choice.random() < self.repeat:
                    again.append(event)
            while again and (choice.random() < 0.3 or made >= share) and len(batch) < self.batch + 5:
                batch.append(again.pop(0))
                with self.lock:
                    self.repeats += 1
            self._send_until_accepted(index, batch)

    def _event(self, user, seq, number):
        return {"type": "track", "event": self.event_name, "userId": f"user-{user}",
                "messageId": f"{self.prefix}-{user}-{seq}",
                "properties": {"seq": seq, "price": number % 100 + 0.5, "label": "x" * 200},
                "context": {"library": {"name": "oracle", "version": "1"}}}

    def _send_until_accepted(self, index, batch):
        body = json.dumps({"batch": batch}).encode()
        with self.lock:
            for event in batch:
                self.sent[event["messageId"]] = (event["userId"], event["properties"]["seq"])
            self.ledger.write(json.dumps({"sending": [e["messageId"] for e in batch]}) + "\n")
        while True:
            if self.deadline == 0:
                raise RuntimeError("told to give up")
            status = self._post(index, body)
            with self.lock:
                self.requests += 1
                self.ledger.write(json.dumps({"answer": status, "first": batch[0]["messageId"]}) + "\n")
                if status == 200:
                    for event in batch:
                        self.acknowledged[event["messageId"]] = self.sent[event["messageId"]]
                    return
                self.failures += 1
            if status in (400, 401, 404, 413) or time.monotonic() > self.deadline:
                raise RuntimeError(f"the gateway answered {status} to a good batch")
            time.sleep(0.05)  # a client's pause before it tries again

    def _post(self, index, body):
        """The status, or 0 when no answer came."""
        local = self.__dict__.setdefault("_pool", {})
        try:
            connection = local.get(index)
            if connection is None:
                connection = local[index] = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=30)
            connection.request("POST", "/v1/batch", body,
                               {"Authorization": self.auth, "Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            local.pop(index, None)
            return 0


class Sink:
    """An HTTP server that takes any request, answers 200, and keeps (path, event, time) of each JSON body that it
    took. `answer` may say otherwise."""

    def __init__(self, ledger, port=0):
        self.ledger = open(ledger, "a", buffering=1 << 16)
        self.arrived = []  # (path, messageId, userId, seq, time)
        self.bodies = {}   # messageId -> body, of the first 1,000
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(1024)
        self.port = self.socket.getsockname()[1]
        self.status = 200
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        sink = self

        class Connection(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport, self.buffer = transport, b""

            def data_received(self, data):
                self.buffer += data
                while True:
                    end = self.buffer.find(b"\r\n\r\n")
                    if end < 0:
                        return
                    head = self.buffer[:end].decode("latin-1")
                    length = 0
                    for line in head.split("\r\n")[1:]:
                        if line[:15].lower() == "content-length:":
                            length = int(line[15:])
                    if len(self.buffer) < end + 4 + length:
                        return
                    body = self.buffer[end + 4:end + 4 + length]
                    self.buffer = self.buffer[end + 4 + length:]
                    status, headers, delay = sink._take(head.split(" ", 2)[1], body)
                    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                    reply = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: 2\r\n\r\nok".encode()
                    if delay == 0:
                        self.transport.write(reply)
                    elif delay is not None:
                        sink.loop.call_later(delay, self.transport.write, reply)

        self.loop.run_until_complete(self.loop.create_server(Connection, sock=self.socket))
        self.loop.run_forever()

    def answer(self, path, event):
        """Status, further headers, and the seconds until the answer goes out (None: it never does)."""
        return self.status, {}, 0

    def _take(self, path, body):
        try:
            event = json.loads(body)
        except ValueError:
            event = {}
        answer = self.answer(path, event)
        message = event.get("messageId")
        properties = event.get("properties") or {}
        row = (path, message, event.get("userId"), properties.get("seq"), time.time())
        self.ledger.write(json.dumps(row) + "\n")
        with self.changed:
            if answer[0] == 200 and answer[2] is not None:
                self.arrived.append(row)
                if len(self.bodies) < 1000:
                    self.bodies.setdefault(message, event)
            self.changed.notify_all()
        return answer

    def wait_for(self, condition, timeout):
        """Waits until condition(self) holds; False after `timeout` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: condition(self), timeout)

    def distinct(self):
        return len({row[1] for row in self.arrived})


def check_deliveries(sender, arrived):
    """What went wrong between a sender and the rows of one sink."""
    seen, last, duplicated, reordered, ghosts = set(), {}, 0, 0, 0
    for _, message, user, seq, _ in arrived:
        if message not in sender.sent:
            ghosts += 1
            continue
        if message in seen:
            duplicated += 1
            continue
        seen.add(message)
        if seq < last.get(user, 0):
            reordered += 1
        last[user] = max(seq, last.get(user, 0))
    return {"lost": len(set(sender.acknowledged) - seen), "ghost": ghosts, "reordered": reordered,
            "duplicated": duplicated, "delivered": len(seen)}
