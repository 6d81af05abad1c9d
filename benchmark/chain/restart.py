"""How long a restart takes with many live keys: `cairn run` is killed with them and started again, from its snapshot and from the changelog.

    python benchmark/chain/restart.py --cairn BINARY --work DIR [--keys 1000000] [--steps 2] [--times 3]

A key is a run that has not ended, with two steps of two metrics, so that its breaker and open windows are kept. `ready` is when every
partition has its state again; `caught up` when rows that were waiting have been committed. Prints one JSON object.
"""

import argparse
import json
import shutil
import time

import stage

WAITING = 10_000


def feed(place, keys, step):
    """A row of each key; in the file's way, since ingest is the quickest of our clients."""
    path = place.work / f"rows-{step}.jsonl"
    now_ms = int(time.time() * 1000)
    with open(path, "w") as out:
        for key in range(keys):
            out.write(f'{{"run_id":"key-{key:08}","step":{step},"tokens":{step * 4096},"event_time_ms":{now_ms},"loss":{2.5 + key % 97 / 997:.5f},'
                      f'"learning_rate":0.0003,"grad_norm":0.7,"metrics":{{"eval_loss":{2.6 + key % 89 / 997:.5f}}}}}\n')
    place.call("ingest", str(path), timeout_s=3600)
    path.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2, help="rows of each key")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--state-bytes-max", type=int, default=8 << 30)
    arguments = parser.parse_args()
    place = stage.Stage(arguments.work, arguments.cairn, {"CAIRN_RUNTIME_STATE_BYTES_MAX": str(arguments.state_bytes_max)})
    try:
        place.start()
        begun = time.monotonic()
        for step in range(1, arguments.steps + 1):
            feed(place, arguments.keys, step)
        place.wait_until_caught_up()
        filled_s = time.monotonic() - begun
        time.sleep(20.0)  # a snapshot that follows
        state_bytes = place.metrics()['cairn_state_bytes{operator="runs"}']
        found = {"snapshot": [], "changelog": []}
        memory, step = stage.memory_mib(place.process.pid)[1], arguments.steps
        for _ in range(arguments.times):
            for kind, figures in found.items():
                place.kill()
                if kind == "changelog":
                    shutil.rmtree(place.work / "data" / "snapshots", ignore_errors=True)
                # what came meanwhile
                step += 1
                feed(place, WAITING, step)
                begun = time.monotonic()
                ready = place.start()
                place.wait_until_caught_up()
                took = time.monotonic() - begun
                restores = {name: value for name, value in place.metrics().items() if name.startswith("cairn_restore_seconds")}
                figures.append({"ready_s": round(ready, 2), "caught_up_s": round(took, 2), "cpu_s": round(stage.cpu_s(place.process.pid), 1),
                                "restore_s": max(restores.values(), default=None), "peak_mib": round(stage.memory_mib(place.process.pid)[1])})
                time.sleep(15.0)  # the snapshot is to be whole again
        print(json.dumps({"keys": arguments.keys, "state_bytes": state_bytes, "bytes_per_key": round(state_bytes / arguments.keys),
                          "filled_s": round(filled_s), "peak_mib": round(memory), **found}))
    finally:
        place.end()


if __name__ == "__main__":
    main()
