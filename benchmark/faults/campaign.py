"""The fault campaign: every fault of the list on a real Kafka, judged by oracles, written down as a table.

    campaign.py --work DIR [--seed N] [--cairn BINARY] [--only NAME,NAME] [--quick]      run; adds to DIR/results.jsonl
    campaign.py --work DIR --table                                                       write its rows into benchmark/faults.md

NAME is `contender.kills`, `cairn.wire` and so on; --list shows all. The contender (`benchmark/streaming/cairn`) and the loader must have
been built with BENCH_WORK=DIR; --cairn names the binary of the pipeline. Exit: 0 all as promised, 1 not, 2 something could not be done.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--cairn", type=pathlib.Path, default=None)
    parser.add_argument("--binary", default="", help="what was built, for the table: a commit")
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the brokers' folders")
    parser.add_argument("--tied", action="store_true", help="end when standard input closes")
    return parser.parse_args()


ARGUMENTS = arguments()
ARGUMENTS.work.mkdir(parents=True, exist_ok=True)
ARGUMENTS.work = ARGUMENTS.work.resolve()
# the harness reads these when it is imported
os.environ["BENCH_WORK"] = str(ARGUMENTS.work)
os.environ.setdefault("BENCH_LOADER", str(ARGUMENTS.work / "target" / "release" / "bench-loader"))

from kafka import Broker, Cluster, Trouble, servers  # noqa: E402  (first: it puts tests/oracle on the path)
import by_command  # noqa: E402
import chaos  # noqa: E402
import contender  # noqa: E402
import control  # noqa: E402
import deadletters  # noqa: E402
import disk  # noqa: E402
import pipeline  # noqa: E402
import scenarios  # noqa: E402
import table  # noqa: E402
from proxy import Proxy  # noqa: E402
from watch import Watch  # noqa: E402

# no time-out of a client is longer than this where a delay is to be beyond it
IMPATIENT_MS = 2_000
IMPATIENT = f"socket.timeout.ms={IMPATIENT_MS}"
# librdkafka looks for requests that took too long once a second
BEYOND_S = 2 * IMPATIENT_MS / 1000


def dataset(name, rows):
    """A set of the harness's generator with the oracle's answer, made once."""
    path = ARGUMENTS.work / "data" / f"{name}.rows"
    if not path.with_suffix(".oracle").exists():
        bench, oracle, *_ = contender.harness()
        bench.generate(argparse.Namespace(data=name, rows=rows, seed=ARGUMENTS.seed, span_s=3600))
        oracle.run(name)
    return name


class Stage:
    """A broker or a cluster and the proxies before it; a registry where one is asked for."""

    def __init__(self, place="stage", kafka=Broker):
        self.work = ARGUMENTS.work / place
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.registry_server = None
        self.broker = kafka(self.work)
        try:
            self.broker.start()
        except BaseException:
            self.broker.stop()
            raise
        self.tunnels = [Proxy(node.proxy_port, ("127.0.0.1", node.behind)) for node in self.broker.nodes]
        self.tunnel = self.tunnels[0]
        # where the harness looks
        state = ARGUMENTS.work / "kafka" / "state.json"
        state.parent.mkdir(exist_ok=True)
        state.write_text(json.dumps({"pid": self.broker.server.process.pid, "port": self.broker.port}))

    def registry(self):
        self.registry_server, url = servers.registry(self.work)
        return url

    def watch(self):
        watch = Watch()
        for tunnel in self.tunnels:
            tunnel.watches = [watch]
        return watch

    def check(self):
        for tunnel in self.tunnels:
            if tunnel.broken:
                raise Trouble(f"the proxy: {tunnel.broken[:2]}")

    def end(self):
        for tunnel in self.tunnels:
            tunnel.stop()
        if self.registry_server is not None:
            self.registry_server.stop()
        self.broker.stop()
        if not ARGUMENTS.keep:
            shutil.rmtree(self.work, ignore_errors=True)


def few(many, quick):
    return quick if ARGUMENTS.quick else many


def told_and_found(flow, tell, instances, stage):
    watch, told = stage.watch(), scenarios.Told()
    try:
        flow.feed()
        for instance in instances:
            flow.start(instance)
        try:
            tell(flow, watch, told)
        except scenarios.Over:
            told.notes.append(f"the data were over after {told.injected} injections")
        found = flow.finish()
        flow.keep = bool(found["lost"] or found["doubled"] or found["wrong"] or told.findings or found["troubles"] or flow.exits)
    except BaseException:
        flow.keep = True
        raise
    finally:
        flow.end()
    stage.check()
    if repeated := found.pop("repeated", 0):
        told.notes.append(f"the feeder's idempotent client wrote {repeated} records twice into the log: sent twice, as the program sees it")
    told.findings += found.pop("troubles")
    for instance, status, said in flow.exits:
        # 2 says that a person has to change something: a supervisor may leave it at that
        (told.findings if status == 2 else told.notes).append(f"{instance} ended by itself with {status} and was started again: {said}")
    return told, found


def on_contender(rate, tell, instances=(0, 1), extra="", data=("small", 1_000_000), settings=None, kafka=Broker):
    """One flow of the contender, a scenario on it, and the verdict."""
    dataset(*data)
    stage = Stage(kafka=kafka)
    try:
        flow = contender.Flow(stage.broker, ARGUMENTS.work, data[0], rate, extra=extra, settings=settings)
        return told_and_found(flow, lambda f, w, t: tell(f, w, t, stage), instances, stage)
    finally:
        stage.end()


def on_cairn(rate, records, tell, instances=(0, 1), settings=None, kafka=Broker):
    """The same of `cairn run`, on a broker of its own (its topics have fixed names) and in a folder of its own, so that what one
    fault leaves behind is there after the next."""
    if ARGUMENTS.cairn is None:
        raise Trouble("--cairn BINARY is needed")
    stage = Stage("stage-cairn", kafka)
    settings = {"CAIRN_LOG_REPLICATION_FACTOR": str(kafka.replication), **(settings or {})}
    try:
        flow = pipeline.Flow(ARGUMENTS.cairn, stage.broker, stage.registry(), ARGUMENTS.work / ARGUMENTS.fault, ARGUMENTS.seed, records, rate, settings)
        return told_and_found(flow, lambda f, w, t: tell(f, w, t, stage), instances, stage)
    finally:
        stage.end()


def contender_control(dice):
    stage = Stage()
    try:
        return control.hazard(stage)
    finally:
        stage.end()


def contender_clean(dice):
    return on_contender(0, lambda f, w, t, s: None, instances=(0,), data=("clean", 5_000_000))


def contender_harness(dice):
    return by_command.harness(ARGUMENTS, Stage, dataset("clean", 5_000_000))


def contender_kills(dice):
    return on_contender(4_000, lambda f, w, t, s: scenarios.kills(f, w, dice, 100, t), data=("kills", 1_500_000))


def contender_survivors(dice):
    return on_contender(6_000, lambda f, w, t, s: scenarios.survivors(f, w, dice, 6, t, scan_s=1.0))


def contender_pauses(dice):
    return on_contender(2_000, lambda f, w, t, s: scenarios.pauses(f, w, dice, 20, t))


def contender_brokers(dice):
    return on_contender(5_000, lambda f, w, t, s: scenarios.brokers(f, w, dice, 10, t, s.broker))


def contender_cluster(dice):
    return on_contender(3_000, lambda f, w, t, s: scenarios.cluster(f, w, dice, 10, t, s.broker), kafka=Cluster)


def contender_wire(dice):
    return on_contender(1_100, lambda f, w, t, s: scenarios.wire(f, w, dice, 200, t, s.tunnel, BEYOND_S), instances=(0,),
                        extra=IMPATIENT)


def contender_late(dice):
    kinds = [kind for kind in scenarios.wire_kinds() if kind[2] == "delay"]
    return on_contender(4_000, lambda f, w, t, s: scenarios.wire(f, w, dice, len(kinds), t, s.tunnel, 13.0, kinds), instances=(0,))


def contender_points(dice):
    return on_contender(3_000, lambda f, w, t, s: scenarios.points(f, w, dice, 4, t, s.tunnel))


def contender_restores(dice):
    return on_contender(4_000, lambda f, w, t, s: scenarios.restores(f, w, dice, 9, t, s.tunnel, ".look"))


IMPATIENT_CAIRN = {"CAIRN_LOG_PROPERTIES": json.dumps({"socket.timeout.ms": str(IMPATIENT_MS)})}


def cairn_kills(dice):
    times = few(100, 2)
    return on_cairn(few(200, 400), few(130_000, 12_000), lambda f, w, t, s: scenarios.kills(f, w, dice, times, t))


def cairn_chaos(dice):
    return by_command.chaos(ARGUMENTS)


def cairn_survivors(dice):
    return on_cairn(250, 60_000, lambda f, w, t, s: scenarios.survivors(f, w, dice, 6, t, scan_s=1.0))


def cairn_pauses(dice):
    return on_cairn(100, 50_000, lambda f, w, t, s: scenarios.pauses(f, w, dice, 20, t))


def cairn_brokers(dice):
    return on_cairn(200, 40_000, lambda f, w, t, s: scenarios.brokers(f, w, dice, 10, t, s.broker))


def cairn_cluster(dice):
    return on_cairn(few(80, 150), few(60_000, 20_000), lambda f, w, t, s: scenarios.cluster(f, w, dice, few(10, 2), t, s.broker), kafka=Cluster)


def cairn_wire(dice):
    def tell(f, w, t, s):
        scenarios.wire(f, w, dice, few(100, 5), t, s.tunnel, BEYOND_S)

    return on_cairn(100, 80_000, tell, instances=(0,), settings=IMPATIENT_CAIRN)


def cairn_points(dice):
    return on_cairn(200, 50_000, lambda f, w, t, s: scenarios.points(f, w, dice, 3, t, s.tunnel))


def cairn_restores(dice):
    return on_cairn(200, 30_000, lambda f, w, t, s: scenarios.restores(f, w, dice, 9, t, s.tunnel, ".look"))


def cairn_quick(dice):
    """A few of each, on one flow: what a test has time for."""
    def tell(f, w, t, s):
        scenarios.kills(f, w, dice, 2, t)
        scenarios.points(f, w, dice, 1, t, s.tunnel, dice.sample(range(1, 16), 3))
        scenarios.wire(f, w, dice, 5, t, s.tunnel, BEYOND_S, dice.sample(scenarios.wire_kinds(), 5))
        scenarios.brokers(f, w, dice, 1, t, s.broker)

    return on_cairn(120, 12_000, tell, settings=IMPATIENT_CAIRN)


def cairn_disk(dice):
    return disk.snapshots(on_cairn, dice, ARGUMENTS.work)


def cairn_embedded_disk(dice):
    return disk.embedded(ARGUMENTS)


def cairn_deadletters(dice):
    return deadletters.replayed(ARGUMENTS, Stage, dice)


RUNS = {name.replace("_", ".", 1): run for name, run in list(globals().items()) if name.startswith(("contender_", "cairn_"))}


def one(name):
    """Runs one fault; its line of results.jsonl."""
    begun = time.monotonic()
    ARGUMENTS.fault = name
    line = {"fault": name, "seed": ARGUMENTS.seed, "at": time.strftime("%Y-%m-%dT%H:%M:%S"), "quick": ARGUMENTS.quick, "load": os.getloadavg()[0],
            "binary": ARGUMENTS.binary}
    print(f"{name}, seed {ARGUMENTS.seed}", flush=True)
    try:
        told, found = RUNS[name](random.Random(f"{name}/{ARGUMENTS.seed}"))
    except (Trouble, subprocess.TimeoutExpired, SystemExit) as trouble:
        line.update(verdict="could not be done", findings=[str(trouble)[-600:]])
    else:
        verdict = found.pop("verdict", None)
        good = not (found["lost"] or found["doubled"] or found["wrong"] or told.findings)
        line.update(found, injected=told.injected, recoveries=[round(s, 2) for s in told.recoveries], findings=told.findings,
                    notes=told.notes, verdict=verdict or ("as promised" if good else "NOT as promised"))
    line["seconds"] = round(time.monotonic() - begun)
    with open(ARGUMENTS.work / "results.jsonl", "a") as out:
        out.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
    return {"as promised": 0, "the hazard shows": 0, "NOT as promised": 1}.get(line["verdict"], 2)


def main():
    if ARGUMENTS.table:
        return table.write(ARGUMENTS.work)
    if ARGUMENTS.list:
        return print("\n".join(RUNS))
    chosen = ARGUMENTS.only.split(",") if ARGUMENTS.only else ["cairn.quick"] if ARGUMENTS.quick else [n for n in RUNS if n != "cairn.quick"]
    if ARGUMENTS.tied:
        chaos.tie_to_standard_input()
    sys.exit(max(one(name) for name in chosen))


if __name__ == "__main__":
    def stopped(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt  # nobody takes that for an outcome

    signal.signal(signal.SIGTERM, stopped)
    main()
