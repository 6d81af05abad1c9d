"""A steady load on the whole chain on Kafka, and how long a diverging step takes to its telegram meanwhile.

    python benchmark/chain/sustained.py --cairn BINARY --work DIR [--rate 20000] [--seconds 600] [--probes-per-s 10]
        [--warm-up-s 60] [--burst-rows N]

Load and probes come from processes of their own. A probe is a run whose loss is NaN at its first step; its time goes from `produce` to the moment when a
read-committed consumer of `cockpit.telegrams` has it: two hops, their commits, and both clients. What the first --warm-up-s seconds bring (members meet
their partitions for the first time, the broker's compiler takes half a core) is told apart. With --burst-rows so many rows more are
sent as fast as they go in the middle. Prints one JSON object.
"""

import argparse
import json
import multiprocessing
import os
import threading
import time

import stage

RUNS = 512
BURST_STEP = 20_000


def load(bootstrap, registry, rate, seconds, burst_rows, report):
    """The steady rate, from the scheduled time of each row; the burst from its middle on."""
    rows, out = stage.SteadyRows(registry, RUNS), stage.producer(bootstrap)
    begun, paced, number = time.time(), 0, 0
    while (passed := time.time() - begun) < seconds:
        due = int(rate * passed) - paced
        paced += due
        if passed > seconds / 2:
            more = min(burst_rows, BURST_STEP)
            due, burst_rows = due + more, burst_rows - more
        rows.set_time(int(time.time() * 1000))
        for number in range(number, number + due):
            name, value = rows.encode(number)
            while True:
                try:
                    out.produce(stage.TOPIC, value, name)
                    break
                except BufferError:
                    out.poll(0.05)
        number += 1 if due else 0
        out.poll(0)
        time.sleep(0.005)
    out.flush(120)
    report.put({"rows": number, "seconds": time.time() - begun})


def probe(bootstrap, registry, rate, seconds, warm_up_s, report):
    """Sends the probes and waits for their telegrams."""
    from confluent_kafka import Consumer

    encode, out = stage.Rows(registry), stage.producer(bootstrap)
    sent, seen = {}, {}
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "probe", "auto.offset.reset": "latest", "isolation.level": "read_committed",
                         "fetch.wait.max.ms": 10, "enable.auto.commit": False})
    assigned = threading.Event()
    consumer.subscribe(["cockpit.telegrams"], on_assign=lambda *_: assigned.set())

    def watch():
        while len(seen) < len(sent) or not done.is_set() or time.time() < deadline[0]:
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            run = message.value().partition(b"probe-")[2][:6]
            if run and run not in seen:
                seen[run] = time.time()
            if done.is_set() and len(seen) >= len(sent):
                return

    done, deadline = threading.Event(), [0.0]
    watcher = threading.Thread(target=watch)
    watcher.start()
    assigned.wait(30)
    time.sleep(1.0)
    begun = time.time()
    for number in range(int(rate * seconds)):
        while (ahead := begun + number / rate - time.time()) > 0:
            out.poll(min(ahead, 0.01))
        name = f"probe-{number:06}"
        sent[name[6:].encode()] = time.time()
        out.produce(stage.TOPIC, encode(stage.row(name, 1, int(time.time() * 1000), float("nan"))), name.encode())
        out.poll(0)
    out.flush(60)
    deadline[0] = time.time() + 60
    done.set()
    watcher.join(120)
    took = [(at - begun < warm_up_s, seen[run] - at) for run, at in sent.items() if run in seen]
    report.put({"sent": len(sent), "cold": [s for is_cold, s in took if is_cold], "seconds": [s for is_cold, s in took if not is_cold]})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--probes-per-s", type=float, default=10)
    parser.add_argument("--warm-up-s", type=float, default=60)
    parser.add_argument("--burst-rows", type=int, default=0)
    arguments = parser.parse_args()
    place = stage.Stage(arguments.work, arguments.cairn)
    try:
        place.start()
        rows, probes = multiprocessing.Queue(), multiprocessing.Queue()
        workers = [multiprocessing.Process(target=probe, args=(place.bootstrap, place.registry, arguments.probes_per_s, arguments.seconds, arguments.warm_up_s, probes))]
        if arguments.rate or arguments.burst_rows:
            workers.append(multiprocessing.Process(
                target=load, args=(place.bootstrap, place.registry, arguments.rate, arguments.seconds, arguments.burst_rows, rows)))
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        memory, load_average = [], []
        spent = [(0.0, stage.cpu_s(place.process.pid), stage.cpu_s(place.broker_pid))]
        while any(worker.is_alive() for worker in workers):
            memory.append(round(stage.memory_mib(place.process.pid)[0]))
            load_average.append(os.getloadavg()[0])
            passed = time.monotonic() - begun
            if len(spent) == 1 and passed >= arguments.warm_up_s:
                spent.append((passed, stage.cpu_s(place.process.pid), stage.cpu_s(place.broker_pid)))
            if probes.qsize() or not workers[0].is_alive():
                break
            time.sleep(1.0)
        told = probes.get(timeout=300)
        fed = rows.get(timeout=300) if len(workers) > 1 else {"rows": 0, "seconds": 0.0}
        place.wait_until_caught_up()
        took = time.monotonic() - begun
        spent.append((took, stage.cpu_s(place.process.pid), stage.cpu_s(place.broker_pid)))
        cpu, broker_cpu = spent[-1][1] - spent[0][1], spent[-1][2] - spent[0][2]
        state = {name.split('"')[1]: round(held / 2**20, 1) for name, held in place.metrics().items() if name.startswith("cairn_state_bytes{")}
        # from the warm-up on, the wait for the last rows included
        warm = [(after - before) / (spent[-1][0] - spent[-2][0]) for before, after in zip(spent[-2][1:], spent[-1][1:])]
        seconds = told["seconds"]
        minute = max(1, len(memory) // 12)
        print(json.dumps({
            "rate": arguments.rate, "rows": fed["rows"], "feeding_s": round(fed["seconds"], 1), "caught_up_after_s": round(took, 1),
            "cpu_s_per_million": round(cpu / max(fed["rows"], 1) * 1e6, 2), "broker_cpu_s_per_million": round(broker_cpu / max(fed["rows"], 1) * 1e6, 2),
            "cores": round(cpu / took, 2), "cores_warm": round(warm[0], 2), "broker_cores_warm": round(warm[1], 2), "probes": told["sent"], "seen": len(seconds) + len(told["cold"]),
            "cold": len(told["cold"]), "cold_max_ms": round(max(told["cold"], default=0) * 1000),
            **{name: round(stage.quantile(seconds, q) * 1000) for name, q in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0))},
            "memory_mib": memory[::minute], "memory_peak_mib": round(stage.memory_mib(place.process.pid)[1]), "state_mib": state,
            "load_average": round(max(load_average), 1),
        }))
    finally:
        place.end()


if __name__ == "__main__":
    main()
