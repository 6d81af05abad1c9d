"""A TCP proxy between clients and one broker that understands Kafka's framing, and does harm at a point that was named.

Every request and answer is seen as a frame (api key, correlation id, client id; of transactional ones the transactional id, producer
id and epoch). A `Fault` says at which frame what happens; a `Watch` is told of everything. Frames on one connection keep their order.
"""

import asyncio
import struct
import threading
import time
from dataclasses import dataclass, field

PRODUCE, FETCH, INIT, ADD_PARTITIONS, ADD_OFFSETS, END, OFFSETS = 0, 1, 22, 24, 25, 26, 28
NAMES = {PRODUCE: "Produce", FETCH: "Fetch", INIT: "InitProducerId", ADD_PARTITIONS: "AddPartitionsToTxn",
         ADD_OFFSETS: "AddOffsetsToTxn", END: "EndTxn", OFFSETS: "TxnOffsetCommit"}
# the first version with tagged fields in the header
FLEXIBLE = {PRODUCE: 9, INIT: 2, ADD_PARTITIONS: 3, ADD_OFFSETS: 3, END: 3, OFFSETS: 3}


@dataclass
class Frame:
    """A request that somebody made, and what the broker said to it."""

    api: int
    version: int
    correlation: int
    client: str
    at: float
    transactional: str = None
    producer: int = None
    epoch: int = None
    commit: bool = None
    error: int = None


class Cursor:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, form):
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(">B")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self, compact):
        length = self.varint() - 1 if compact else self.take(">h")
        if length < 0:
            return None
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode()

    def tags(self):
        for _ in range(self.varint()):
            self.varint()
            self.at += self.varint()


def request(data):
    """The frame of a request's bytes (without the length)."""
    cursor = Cursor(data)
    api, version, correlation = cursor.take(">h"), cursor.take(">h"), cursor.take(">i")
    frame = Frame(api, version, correlation, cursor.text(False) or "", time.monotonic())
    if api not in FLEXIBLE:
        return frame
    flexible = version >= FLEXIBLE[api]
    if flexible:
        cursor.tags()
    if api != PRODUCE or version >= 3:
        frame.transactional = cursor.text(flexible)
    if api == INIT:
        cursor.take(">i")
        if version >= 3:
            frame.producer, frame.epoch = cursor.take(">q"), cursor.take(">h")
    elif api in (ADD_PARTITIONS, ADD_OFFSETS, END):
        frame.producer, frame.epoch = cursor.take(">q"), cursor.take(">h")
        if api == END:
            frame.commit = bool(cursor.take(">b"))
    elif api == OFFSETS:
        cursor.text(flexible)
        frame.producer, frame.epoch = cursor.take(">q"), cursor.take(">h")
    return frame


def answer(frame, data):
    """Completes a frame by the broker's answer, where that is of interest."""
    if frame.api not in (INIT, END, ADD_OFFSETS):
        return
    cursor = Cursor(data, 4)
    if frame.version >= FLEXIBLE[frame.api]:
        cursor.tags()
    cursor.take(">i")
    frame.error = cursor.take(">h")
    if frame.api == INIT:
        frame.producer, frame.epoch = cursor.take(">q"), cursor.take(">h")


@dataclass
class Fault:
    """At the next frame that `matches`: `place` before (the broker sees it), answered (the broker has, the client has not heard) or
    heard; `action` cut (both connections are closed; before: the broker never sees it), delay (by `seconds`; a delayed request goes
    to the broker even when its client has hung up meanwhile) or call (`then`, and the frame goes nowhere but at `heard`)."""

    matches: object
    place: str
    action: str
    seconds: float = 0.0
    then: object = None
    many: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    frame: Frame = None
    at: float = None


class Proxy:
    """Listens on a port of its own in a thread of its own."""

    def __init__(self, port, upstream):
        self.port, self.upstream = port, upstream
        self.faults, self.lock = [], threading.Lock()
        self.watches = []
        self.loop = asyncio.new_event_loop()
        self.broken = []
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        started.wait(10)

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20))
        started.set()
        self.loop.run_forever()
        # what is cancelled now has nobody to tell
        self.loop.set_exception_handler(lambda *_: None)
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def inject(self, fault):
        with self.lock:
            self.faults.append(fault)
        return fault

    def forget(self, fault):
        with self.lock:
            if fault in self.faults:
                self.faults.remove(fault)

    def _find(self, frame, place):
        if not self.faults:
            return None
        with self.lock:
            for fault in self.faults:
                if fault.place == place and fault.matches(frame):
                    if not fault.many:
                        self.faults.remove(fault)
                    fault.frame, fault.at = frame, time.monotonic()
                    return fault
        return None

    def _tell(self, what, frame):
        for watch in self.watches:
            watch(what, frame)

    async def _serve(self, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream, limit=1 << 20)
        except OSError:
            writer.close()
            return
        connection = Connection(self, reader, writer, up_reader, up_writer)
        try:
            await asyncio.gather(connection.requests(), connection.answers())
        except Exception as error:  # a proxy that fell over would look like a fault of the product
            self.broken.append(repr(error))
        finally:
            writer.close()
            up_writer.close()


class Connection:
    def __init__(self, proxy, reader, writer, up_reader, up_writer):
        self.proxy = proxy
        self.reader, self.writer, self.up_reader, self.up_writer = reader, writer, up_reader, up_writer
        self.waiting = {}

    def close(self):
        self.writer.close()
        self.up_writer.close()

    async def requests(self):
        gone = (asyncio.IncompleteReadError, ConnectionError, OSError)
        try:
            while True:
                head = await self.reader.readexactly(4)
                data = await self.reader.readexactly(struct.unpack(">I", head)[0])
                frame = request(data)
                self.proxy._tell("request", frame)
                fault = self.proxy._find(frame, "before")
                if fault is not None:
                    fault.done.set()
                    if fault.action == "delay":
                        await asyncio.sleep(fault.seconds)
                        fault.over.set()
                    else:
                        if fault.then is not None:
                            fault.then(frame)
                        fault.over.set()
                        return self.close()
                # Produce with acks=0 has no answer; ours have acks=all
                self.waiting[frame.correlation] = frame
                self.up_writer.write(head + data)
                await self.up_writer.drain()
        except gone:
            pass
        if self.waiting:
            # the client has hung up; what it sent is executed all the same
            await asyncio.sleep(0.2)
        self.up_writer.close()

    async def answers(self):
        gone = (asyncio.IncompleteReadError, ConnectionError, OSError)
        try:
            while True:
                head = await self.up_reader.readexactly(4)
                length = struct.unpack(">I", head)[0]
                data = await self.up_reader.readexactly(length)
                frame = self.waiting.pop(struct.unpack_from(">i", data)[0], None)
                fault = None
                if frame is not None:
                    answer(frame, data)
                    self.proxy._tell("answer", frame)
                    fault = self.proxy._find(frame, "answered")
                if fault is not None:
                    fault.done.set()
                    if fault.action == "delay":
                        await asyncio.sleep(fault.seconds)
                        fault.over.set()
                    else:
                        if fault.then is not None:
                            fault.then(frame)
                        fault.over.set()
                        return self.close()
                self.writer.write(head + data)
                await self.writer.drain()
                if frame is None:
                    continue
                fault = self.proxy._find(frame, "heard")
                if fault is not None:
                    fault.done.set()
                    await asyncio.sleep(fault.seconds)
                    if fault.then is not None:
                        fault.then(frame)
                    fault.over.set()
        except gone:
            pass
        self.writer.close()
