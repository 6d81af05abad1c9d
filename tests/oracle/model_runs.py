"""The oracle's own account of the `runs` task: one partition's records in, windows, late rows, verdicts, dead letters and rows out."""

import math

from common import complete
from model_breaker import Breaker
from model_derived import VERSION, Sketches, derived
from model_windows import NONFINITE, Clock, Row, Windows

REASONING = ("arc_", "bbh", "drop", "gpqa", "gsm8k", "hendrycks_math", "logiqa", "math", "minerva_math")
BAND_Z = 1.959963984540054
LIST_MAX = 512


class Run:
    def __init__(self, tenant, run_id, end_grace_ms):
        self.clock, self.windows, self.breaker = Clock(end_grace_ms), Windows(), Breaker()
        parts = {name: {} for name in ("model", "training", "hardware", "environment", "derived")}
        said = {"tenant": tenant, "run_id": run_id, "derivation_version": VERSION, "updated_append_time_ms": 0, **parts}
        self.row = complete("experiments.rows", said)
        self.nothing_derived = self.row["derived"]
        self.sketches, self.spans, self.powers, self.summary_at = Sketches(), {}, [], None
        self.loss_at = self.validation_at = self.runtime_at = self.ended = self.speed = None
        self.measured = {"steps": {}, "tokens": {}}  # the most of each attempt that was measured
        self.speed_at = None  # attempt and step that the tokens a second are of
        self.in_trouble = False
        self.tool_successes, self.attempts = 0, set()
        self.has_row = False

    # --- the row

    def fold(self, record, event):
        row, payload, topic = self.row, event["payload"], event["topic"]
        self.has_row = True
        about_attempt = topic not in ("runs.planned", "runs.tags")
        if about_attempt:
            # topics have no order between them: every attempt counts, whichever was heard of first
            self.attempts.add(event["attempt"])
            row["attempts"], row["attempt"], row["retries"] = len(self.attempts), max(self.attempts), len(self.attempts) - 1
        {
            "telemetry.training": self._training, "telemetry.runtime": self._runtime, "telemetry.tooluse": self._tool,
            "eval.results": self._score_of_eval, "safety.results": self._score_of_safety, "runs.config": self._config,
            "runs.lifecycle": self._lifecycle, "runs.planned": self._planned, "runs.tags": self._tags,
        }[topic](payload)
        time_ms = payload["event_time_ms"]
        if time_ms is not None and about_attempt:
            first, last = row["first_event_time_ms"], row["last_event_time_ms"]
            row["first_event_time_ms"] = time_ms if first is None else min(first, time_ms)
            row["last_event_time_ms"] = time_ms if last is None else max(last, time_ms)
            if topic in ("telemetry.training", "runs.lifecycle"):
                first, last = self.spans.get(event["attempt"], (time_ms, time_ms))
                self.spans[event["attempt"]] = (min(first, time_ms), max(last, time_ms))
        self._status(topic)
        source = event["source"]
        self._cover(source["topic"], source["partition"], source["offset"])
        row["updated_append_time_ms"] = record.time_ms
        row["quantiles"] = self.sketches.rows()
        row["derived"] = derived(self.nothing_derived, row, self.speed, self.spans, self.powers)

    def _training(self, event):
        row, place = self.row, (event["attempt"], event["step"])
        newest = self.loss_at is None or place >= self.loss_at
        loss = event["loss"]
        if loss is None and event["perplexity"] is not None and event["perplexity"] > 0:
            loss = math.log(event["perplexity"])
        if loss is not None:
            if newest:
                self.loss_at = place
                row["loss_last"], row["loss_last_step"] = loss, event["step"]
                row["perplexity_last"] = math.exp(loss) if loss < 709.78 else None
            row["loss_min"] = loss if row["loss_min"] is None else min(row["loss_min"], loss)
        if event["validation_loss"] is not None and (self.validation_at is None or place >= self.validation_at):
            self.validation_at = place
            row["validation_loss_last"], row["validation_loss_step"] = event["validation_loss"], event["step"]
        row["nonfinite_steps"] += any(event[name] in NONFINITE for name in ("loss_state", "grad_norm_state", "validation_loss_state"))
        self._reach(event)
        if event["tokens_per_second"] is not None:
            if self.speed_at is None or place >= self.speed_at:
                self.speed_at, self.speed = place, event["tokens_per_second"]

    def _reach(self, event):
        # a run has come as far as its newest attempt that says how far
        for name, value in (("steps", event["step"]), ("tokens", event["tokens"])):
            most = self.measured[name]
            if value is not None:
                most[event["attempt"]] = max(value, most.get(event["attempt"], value))
            if most:
                self.row[name] = most[max(most)]

    def _runtime(self, event):
        time_ms = event["event_time_ms"]
        place = (event["attempt"], -(2**63) if time_ms is None else time_ms)
        newest = self.runtime_at is None or place >= self.runtime_at
        self.runtime_at = place if newest else self.runtime_at
        percentiles = ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
        medians = ("time_to_first_token_ms", "throughput_tokens_per_second")
        of_one = event["n"] in (None, 1) and all(event[name] is None for name in percentiles)
        names = ("memory_bytes", "power_watts") if newest else ()
        if event["power_watts"] is not None:
            self.powers.append(event["power_watts"])
        if of_one:
            for name in ("latency_ms", "time_per_output_token_ms", *medians):
                if event[name] is not None:
                    self.sketches.note(name, event["attempt"], event[name])
            known = {} if self.summary_at is not None else {row["metric"]: row for row in self.sketches.rows()}
            if "latency_ms" in known:
                self.row.update({name: known["latency_ms"][name[-3:]] for name in percentiles})
            self.row.update({name: known[name]["p50"] for name in medians if name in known})
        elif self.summary_at is None or place >= self.summary_at:
            first, self.summary_at = self.summary_at is None, place
            if first:
                self.row.update(dict.fromkeys((*percentiles, *medians)))
            names += (*percentiles, *medians)
        for name in names:
            if event[name] is not None:
                self.row[name] = event[name]

    def _tool(self, event):
        self.row["tool_calls"] += 1
        self.tool_successes += event["outcome"] == "success"
        self.row["tool_success_ratio"] = self.tool_successes / self.row["tool_calls"]
        if event["latency_ms"] is not None:
            self.sketches.note("tool_latency_ms", event["attempt"], event["latency_ms"])

    def _score_of_eval(self, event):
        kind = "reasoning" if event["task"].startswith(REASONING) else "quality"
        names = ("harness", "task", "metric", "value", "n", "standard_error", "step", "tokens", "higher_is_better")
        self._score({**{name: event[name] for name in names}, "kind": kind})

    def _score_of_safety(self, event):
        self._score({
            "harness": event["suite"], "task": event["suite"] if event["category"] is None else event["category"], "metric": event["metric"],
            "value": event["value"], "n": event["n"], "standard_error": event["standard_error"], "step": event["step"], "tokens": None,
            "higher_is_better": None, "kind": "safety",
        })

    def _score(self, score):
        def name(one):
            return (one["harness"].encode(), one["task"].encode(), one["metric"].encode())

        def age(one):
            return -1 if one["step"] is None else one["step"]

        scores = {name(one): one for one in self.row["scores"]}
        known = scores.get(name(score))
        if known is not None and age(score) < age(known):
            return
        if known is None and len(scores) >= LIST_MAX:
            # the score of the fewest items gives way, the last by name of them
            def items(one):
                return float("inf") if one["n"] is None else one["n"]

            least = min(sorted(scores, reverse=True), key=lambda key: items(scores[key]))
            if items(scores[least]) >= items(score):
                return
            del scores[least]
        scores[name(score)] = score
        self.row["scores"] = [scores[key] for key in sorted(scores)]
        self.row["uncertainty"] = [
            {"metric": f"{one['harness']}/{one['task']}/{one['metric']}", "low": one["value"] - BAND_Z * one["standard_error"],
             "high": one["value"] + BAND_Z * one["standard_error"], "level": 0.95}
            for one in self.row["scores"] if one["value"] is not None and one["standard_error"] is not None
        ]

    def _config(self, config):
        row = self.row
        for part in ("model", "training", "hardware", "environment"):
            self._fill(part, config[part])
        for name in ("data_mix", "augmentation"):
            if config[name]:
                row[name] = config[name]
        context = config["context_length_tokens"]
        if context is None and config["model"]:
            context = config["model"]["context_length_tokens"]
        for name, value in (("context_length_tokens", context), ("curriculum", config["curriculum"]), ("parent_run_id", config["parent_run_id"])):
            if value is not None:
                row[name] = value
        self._add_tags(config["tags"])

    def _fill(self, part, said):
        if said:
            self.row[part] = {**self.row[part], **{name: value for name, value in said.items() if value is not None}}

    def _add_tags(self, tags):
        for tag in tags:
            if tag not in self.row["tags"] and len(self.row["tags"]) < LIST_MAX:
                self.row["tags"] = sorted(self.row["tags"] + [tag], key=str.encode)

    def _lifecycle(self, event):
        # an end of an attempt that was replaced says nothing about the run
        if event["state"] in ("finished", "crashed") and not (self.ended is not None and self.ended[0] > event["attempt"]):
            self.ended = (event["attempt"], event["state"] == "finished")
        self._reach(event)
        for artifact in event["artifacts"]:
            known = [i for i, one in enumerate(self.row["artifacts"]) if (one["kind"], one["uri"]) == (artifact["kind"], artifact["uri"])]
            if known:
                self.row["artifacts"][known[0]] = artifact
            elif len(self.row["artifacts"]) < LIST_MAX:
                self.row["artifacts"].append(artifact)

    def _planned(self, event):
        row = self.row
        row["plan_id"], row["expected"] = event["plan_id"], event["expected"]
        said = dict(row)
        self._config(event["config"])
        if row["attempts"] > 0:  # what a run says of itself stands above what was planned
            for part in ("model", "training", "hardware", "environment"):
                self._fill(part, said[part])
            for name in ("data_mix", "augmentation", "context_length_tokens", "curriculum", "parent_run_id"):
                if said[name]:
                    row[name] = said[name]

    def _tags(self, event):
        self._add_tags(event["add"])
        self.row["tags"] = [tag for tag in self.row["tags"] if tag not in event["remove"]]

    def _status(self, topic):
        row = self.row
        if self.ended is not None and self.ended[0] >= row["attempt"]:
            row["status"] = "finished" if self.ended[1] else "failed"
        elif row["attempts"] == 0:
            if row["plan_id"] is not None:
                row["status"] = "planned"
        elif topic in ("telemetry.training", "runs.lifecycle") or row["status"] != "stalled":
            row["status"] = "running"

    def _cover(self, topic, partition, offset):
        spans = {(span["topic"], span["partition"]): span for span in self.row["inputs"]}
        span = spans.setdefault((topic, partition), {"topic": topic, "partition": partition, "first": offset, "last": offset})
        span["first"], span["last"] = min(span["first"], offset), max(span["last"], offset)
        self.row["inputs"] = [spans[key] for key in sorted(spans)]

    def plan(self):
        training = self.row["training"]
        steps = training["steps_planned"]
        if steps is None and training["tokens_planned"] is not None and (training["batch_tokens"] or 0) > 0:
            steps = int(training["tokens_planned"] / training["batch_tokens"])
        return {"steps_planned": steps, "tokens_planned": training["tokens_planned"], "warmup_steps": training["warmup_steps"],
                "curriculum": bool(self.row["curriculum"])}


class Partition:
    """One partition: records in the order of its batches, and what they cause."""

    def __init__(self, end_grace_ms, forget_after_end_ms, lateness_only=False):
        self.end_grace_ms, self.forget_after_end_ms, self.lateness_only = end_grace_ms, forget_after_end_ms, lateness_only
        self.runs, self.number = {}, None
        self.wall_ms = -(2**63)
        self.seen = {}
        self.endings = {}
        self.windows, self.late, self.verdicts, self.dead = [], [], [], []
        self.duplicates = self.forgotten = 0

    def apply(self, record):
        self.wall_ms, self.number = max(self.wall_ms, record.time_ms), record.partition
        if record.topic == "runs.events":
            value = record.value
            key = (value["tenant"], value["run_id"])
            for event in value["events"]:
                self._event(record, key, event)
            # whether a run is over is asked when all rows of the record are in
        self._timers(record)

    def drain(self):
        for key in sorted(self.runs):
            run = self.runs[key]
            if run.clock.end is not None and not run.clock.ended:
                self._close(key, run, None, run.clock.attempt, "drain")
                run.clock.ended = True
                self._note_end(key)

    def _run(self, key):
        if key not in self.runs:
            self.runs[key] = Run(*key, self.end_grace_ms)
        return self.runs[key]

    def _event(self, record, key, event):
        is_telemetry = event["topic"] == "telemetry.training"
        ids = self.seen.setdefault((key, is_telemetry), set())
        if event["event_id"][:16] in ids:
            self.duplicates += 1
            return
        run = self._run(key)
        if is_telemetry and not self._telemetry(record, key, run, event):
            return  # what was refused may come again
        ids.add(event["event_id"][:16])
        run.fold(record, event)
        if event["topic"] == "runs.config" and event["payload"]["clock"] != "unknown":
            run.windows.by_tokens = event["payload"]["clock"] == "tokens"
        if event["topic"] == "runs.lifecycle" and event["payload"]["state"] in ("finished", "crashed"):
            payload = event["payload"]
            run.clock.announce(event["attempt"], payload["step"], payload["tokens"], self.wall_ms)
            self._note_end(key)

    def _telemetry(self, record, key, run, event):
        row = Row(event, record.partition, record.offset)
        refused = run.clock.refuse(row, self.wall_ms)
        if isinstance(refused, tuple):
            self._late(record, key, event, {"clock": event["clock"], "watermark": None, "late_by": refused[1] - row.attempt, "unit": "unknown"})
            return True
        if refused is not None:
            self.dead.append((refused, event["event_id"], record.partition, record.offset))
            return False
        plan = run.plan()
        previous = run.clock.advance(row, self.wall_ms)
        if previous is not None:
            self._close(key, run, record, previous, "end_of_run")
            run.windows.forget()
        if not self.lateness_only:
            self._decide(record, key, run, run.breaker.row(row, plan))
        closed, late = run.windows.take(row, run.clock)
        if late:
            self._late(record, key, event, late[0])
        self._judge(record, key, run, closed)
        self._note_end(key)
        return True

    def _late(self, record, key, event, late):
        self.late.append({
            "tenant": key[0], "run_id": key[1], "attempt": event["attempt"], "topic": event["topic"], "event_id": event["event_id"], **late,
            "source": {"topic": "runs.events", "partition": record.partition, "offset": record.offset}, "payload": event["payload"],
        })

    def _close(self, key, run, record, attempt, by):
        self._judge(record, key, run, run.windows.close_all(attempt, by))

    def _judge(self, record, key, run, closed):
        plan = run.plan()
        for window, by in [] if self.lateness_only else closed:
            self.windows.append({"tenant": key[0], "run_id": key[1], **window.summary(by)})
            self._decide(record, key, run, run.breaker.window(window, plan))

    def _decide(self, record, key, run, verdicts):
        for verdict in verdicts:
            offset = verdict.pop("last_offset")
            if offset is not None:  # the last record of the evidence
                place = {"topic": "runs.events", "partition": self.number, "offset": offset}
            else:
                place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            self.verdicts.append({"tenant": key[0], "run_id": key[1], **verdict, "offsets": [place]})
            if verdict["previous_state"] != "open":
                run.in_trouble = False
            if verdict["state"] == "open" and verdict["cause"] in ("divergence", "non_finite", "gradient_explosion"):
                # what gets graver while the breaker is open is the same trouble
                run.row["divergences"] += not run.in_trouble
                run.in_trouble = True
            run.row["breaker_state"] = verdict["state"]
            run.has_row = True

    def _note_end(self, key):
        if not self.runs[key].clock.ended:
            self.endings.pop(key, None)
        elif key not in self.endings:
            self.endings[key] = self.wall_ms + self.forget_after_end_ms

    def _timers(self, record):
        for key in sorted(self.runs):
            run = self.runs[key]
            due = run.clock.due(self.wall_ms)
            silent = run.clock.attempt is not None and run.clock.stalled(self.wall_ms)
            if silent and not due and run.row["status"] == "running":
                run.row["status"] = "stalled"
            if due or silent and run.clock.given_up(self.wall_ms):
                self._close(key, run, record, run.clock.attempt, "end_of_run")
                run.clock.ended = True
                self._note_end(key)
        for key in sorted(key for key, due in self.endings.items() if due <= self.wall_ms):
            # of an ended run only its clock and the marks up to which it was closed are kept, and the ids of facts
            del self.endings[key]
            self.seen.pop((key, True), None)
            self.runs[key].windows.keep_marks_only()
            self.runs[key].breaker = Breaker()
            self.forgotten += 1
