"""The faults, each told on a flow (contender or pipeline) that is being fed: what is done, and what must be seen at once.

Each function returns what it injected; whether anything was lost or doubled the flow's own oracle says at the end. A recovery is the
time from the fault (SIGKILL, SIGSTOP, the broken frame) to the first commit that the broker confirmed to whoever had to make it.
"""

import signal
import time

import proxy
from kafka import Trouble, wait_until

PATIENCE_S = 300
STANDS_STILL_S = 120  # after a broker's kill; whoever has not committed by then is taken for stuck
AFTER_THE_LAST_S = 15  # so long may a commit take when nothing more is sent; then there may be none to come
STEPS = (proxy.ADD_PARTITIONS, proxy.PRODUCE, proxy.ADD_OFFSETS, proxy.OFFSETS, proxy.END)
PLACES = ("before", "answered", "heard")


class Over(Exception):
    """Everything was sent before all faults were injected; those that were count."""


class Told:
    """What a scenario has done and seen."""

    def __init__(self):
        self.injected, self.recoveries, self.findings, self.notes = 0, [], [], []

    def recovered(self, seconds):
        self.recoveries.append(seconds)


def flowing(flow, watch, whose, patience_s=PATIENCE_S):
    """Until somebody has committed twice from now on: the fault is to find it at work."""
    since = time.monotonic()

    def look():
        flow.revive()
        return flow.fed() or watch.commits_since(whose, since) >= 2

    wait_until("work", patience_s, look, 0.02)
    if flow.fed():
        raise Over


def missed(flow, what):
    """What did not come: no wonder where nothing is sent any more."""
    return Over() if flow.fed() else Trouble(what)


def while_fed(flow, found):
    """Looks for something that comes only while data come: keeps instances alive, and gives up some time after the last record."""
    fed_at = None

    def look():
        nonlocal fed_at
        flow.revive()
        if flow.fed():
            fed_at = fed_at or time.monotonic()
            if time.monotonic() - fed_at > AFTER_THE_LAST_S:
                raise Over
        return found()

    return look


def commits_again(flow, watch, whose, since, anew=True, patience_s=PATIENCE_S):
    try:
        look = while_fed(flow, lambda: watch.first_commit(whose, since, anew))
        return wait_until("a commit", patience_s, look, 0.01) - since
    except Trouble as trouble:
        raise missed(flow, str(trouble)) from trouble


def kills(flow, watch, dice, times, told):
    """SIGKILL at a random moment, a third of them in the start of the last one; the same instance must work again."""
    for number in range(times):
        instance = dice.choice(flow.running())
        if dice.random() < 0.67:
            flowing(flow, watch, flow.stateful(instance))
            time.sleep(dice.uniform(0.0, 0.6))
        else:
            time.sleep(dice.uniform(0.05, 1.5))
        flow.revive()
        flow.kill(instance)
        killed = time.monotonic()
        flow.start(instance)
        told.injected += 1
        # not awaited each time: some kills fall on one that has not recovered from the last
        if dice.random() < 0.75:
            told.recovered(commits_again(flow, watch, flow.stateful(instance), killed))


def survivors(flow, watch, dice, times, told, scan_s):
    """SIGKILL of one of two that stays away: the other has everything within max(session, transaction + scan) + 2 s."""
    limit = max(flow.session_s, flow.transaction_s + scan_s) + 2.0
    for _ in range(times):
        for instance in flow.running():
            flowing(flow, watch, flow.stateful(instance))
        instance = dice.choice(flow.running())
        before = flow.positions()
        flow.kill(instance)
        killed = time.monotonic()
        told.injected += 1
        took = flow.taken_over(before, PATIENCE_S) - killed
        told.recovered(took)
        if took > limit:
            told.findings.append(f"takeover after {took:.1f} s, more than {limit:.1f} s")
        flow.start(instance)


def pauses(flow, watch, dice, times, told):
    """SIGSTOP past the session time-out; when the other has everything, SIGCONT; the woken one commits nothing of what it had."""
    try:
        for _ in range(times):
            for instance in flow.running():
                flowing(flow, watch, flow.stateful(instance))
            instance = dice.choice(flow.running())
            time.sleep(dice.uniform(0.0, 0.5))
            flow.signal(instance, signal.SIGSTOP)
            frozen = time.monotonic()
            before = flow.positions()
            told.injected += 1
            told.recovered(flow.taken_over(before, PATIENCE_S) - frozen)
            time.sleep(max(0.0, frozen + flow.session_s + 1.0 - time.monotonic()))
            watch.zombie(flow.of(instance), frozen)
            flow.signal(instance, signal.SIGCONT)
            time.sleep(3.0)  # for what it has still to say
            commits_again(flow, watch, flow.stateful(instance), frozen + 1.0, anew=False)
    finally:
        told.notes.append(f"a woken one tried {watch.zombie_tries} transactional requests")
        told.notes += [f"a woken one ended a transaction that was still its own: {said}" for said in watch.zombie_ends]
        told.findings += [f"a zombie committed: {said}" for said in watch.zombie_commits]


def brokers(flow, watch, dice, times, told, broker):
    """SIGKILL of the broker, which is started again after up to three seconds."""
    try:
        for _ in range(times):
            flowing(flow, watch, flow.ours)
            time.sleep(dice.uniform(0.0, 1.0))
            broker.kill()
            killed = time.monotonic()
            told.injected += 1
            time.sleep(dice.uniform(0.0, 3.0))
            broker.start()
            up = time.monotonic()
            commits_again(flow, watch, flow.ours, killed, anew=False)
            told.recovered(time.monotonic() - up)
    finally:
        told.notes.append("recovery counts from the moment when the broker answers again")


def cluster(flow, watch, dice, times, told, brokers):
    """SIGKILL of one broker of three, which is started again after up to three seconds; the next one when every replica is in step again.
    Whoever was at work must be at work again: each transactional id commits a transaction that it began after the kill. Where one does not,
    that is a finding, and all instances are killed and started again, as somebody would do who watches them."""
    began, led, in_step = brokers.elections(), [], []
    try:
        for _ in range(times):
            flowing(flow, watch, flow.ours)
            node = dice.choice(brokers.nodes)
            led.append(brokers.led_by(node))
            time.sleep(dice.uniform(0.0, 1.0))
            node.kill()
            killed = time.monotonic()
            names = watch.at_work(flow.ours, killed - 5.0)
            told.injected += 1
            time.sleep(dice.uniform(0.0, 3.0))
            node.start()
            stuck = all_commit_again(flow, watch, names, killed, told)
            if stuck:
                told.findings.append(f"kill {told.injected}: {', '.join(stuck)} stood still for {STANDS_STILL_S} s")
                again = time.monotonic()
                for instance in flow.running():
                    flow.kill(instance)
                    flow.start(instance)
                stuck = all_commit_again(flow, watch, names, again, Told())
                if stuck:
                    raise Trouble(f"{', '.join(stuck)} stood still after a start, too")
            wait_until("every replica", PATIENCE_S, lambda: flow.revive() or brokers.whole(), 0.2)
            in_step.append(time.monotonic() - killed)
    finally:
        if led:
            some = ("__transaction_state", "__consumer_offsets")
            counts = [sum(each.values()) for each in led]
            told.notes.append(
                f"the killed one led {min(counts)} to {max(counts)} partitions, " + ", ".join(
                    f"of `{name}` one or more in {sum(name in each for each in led)} of {len(led)} kills" for name in some))
        if in_step:
            middle = sorted(in_step)[len(in_step) // 2]
            told.notes.append(f"all replicas in step {middle:.0f} s (median), {max(in_step):.0f} s (slowest) after the kill")
        told.notes.append("recovery counts from the kill to the second commit of the last of those who had been at work")
    told.notes.append(f"the controllers elected {brokers.elections() - began} times")


def all_commit_again(flow, watch, names, since, told):
    """Waits until each of these has committed twice after that moment, and tells how long it took; those that have not."""
    look = while_fed(flow, lambda: None not in [watch.second_commit(name, since) for name in names])
    try:
        wait_until("commits", STANDS_STILL_S, look)
    except Trouble:
        return sorted(name for name in names if watch.second_commit(name, since) is None)
    told.recovered(max((watch.second_commit(name, since) for name in names), default=since) - since)
    return []


def wire_kinds():
    """Every transactional step × what is done to it."""
    return [(api, place, action) for api in STEPS for place, action in
            (("answered", "cut"), ("before", "cut"), ("answered", "delay"), ("before", "delay"))]


def wire(flow, watch, dice, times, told, tunnel, delay_s, kinds=None):
    """Requests and answers of the transaction cut off or delayed beyond the client's time-out: a new producer each time."""
    kinds = kinds or wire_kinds()
    counts = {}
    try:
        for number in range(times):
            api, place, action = kinds[number % len(kinds)]
            flowing(flow, watch, flow.ours)
            name = f"{proxy.NAMES[api]} {'request' if place == 'before' else 'answer'} {'cut' if action == 'cut' else 'delayed'}"
            seconds = delay_s * dice.uniform(1.0, 1.3) if action == "delay" else 0.0
            time.sleep(dice.uniform(0.0, 0.2))
            fault = tunnel.inject(proxy.Fault(
                lambda f: f.api == api and flow.ours(f.transactional or "") and f.commit in (None, True), place, action, seconds,
            ))
            if not fault.done.wait(30):
                tunnel.forget(fault)
                raise missed(flow, f"{name}: no such frame within 30 s")
            frame, at = fault.frame, fault.at
            key = watch.suspect(frame)
            told.injected += 1
            counts[name] = counts.get(name, 0) + 1
            try:
                wait_until("a new producer", 60, lambda: flow.revive() or watch.new_producer(key[0], at), 0.01)
            except Trouble:
                told.findings.append(f"{name}: no new producer within 60 s")
            told.recovered(commits_again(flow, watch, lambda name: name == key[0], at) - (seconds if action == "delay" else 0.0))
            fault.over.wait(60)
    finally:
        went_on = len(watch.went_on)
        told.notes.append(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
        told.notes.append("recoveries without the delay itself")
        if went_on:
            told.findings.append(f"{went_on} requests of a later transaction by a producer whose outcome had been indefinite: "
                                 + ", ".join(sorted({proxy.NAMES[f.api] for f in watch.went_on})))


def points(flow, watch, dice, repeats, told, tunnel, only=range(1, 16)):
    """SIGKILL at each numbered point of the commit: the proxy sees the frame and kills before it, after it, or once it was heard."""
    numbered = [(api, place) for api in STEPS for place in PLACES]
    try:
        for _ in range(repeats):
            for number in only:
                api, place = numbered[number - 1]
                flowing(flow, watch, flow.ours)
                instance = dice.choice(flow.running())
                whose = flow.of(instance)
                skip = dice.randrange(0, 4)

                def matches(frame):
                    nonlocal skip
                    if frame.api != api or not whose(frame.transactional or "") or frame.commit is False:
                        return False
                    skip -= 1
                    return skip < 0

                fault = tunnel.inject(proxy.Fault(
                    matches, place, "call", dice.choice((0.0, 0.001, 0.003)), lambda _: flow.signal(instance, signal.SIGKILL),
                ))
                if not fault.over.wait(60):
                    tunnel.forget(fault)
                    raise missed(flow, f"point {number} did not come within 60 s")
                flow.kill(instance)
                told.injected += 1
                flow.start(instance)
                told.recovered(commits_again(flow, watch, flow.stateful(instance), fault.at))
    finally:
        told.notes.append("points 1-15: before, answered and heard for " + ", ".join(proxy.NAMES[api] for api in STEPS))


def restores(flow, watch, dice, times, told, tunnel, looker):
    """A restore is held up at the proxy, and in its middle the second instance leaves, comes, or the first is killed."""
    try:
        for number in range(times):
            kind = ("join", "leave", "kill")[number % 3]
            for instance in flow.running():
                flowing(flow, watch, flow.stateful(instance))
            # the clients that read changelogs have a name of their own
            hold = tunnel.inject(proxy.Fault(lambda f: f.api == proxy.FETCH and f.client.endswith(looker), "answered", "delay", 1.5, many=True))
            try:
                if kind == "join" and len(flow.running()) == 2:
                    flow.stop(1)
                flow.kill(0)
                flow.forget_snapshots(0)
                flow.start(0)
                killed = time.monotonic()
                if not hold.done.wait(60):
                    raise missed(flow, "no restore within 60 s")
                time.sleep(dice.uniform(0.1, 1.0))
                if kind == "leave":
                    if 1 not in flow.running():
                        flow.start(1)
                        time.sleep(1.0)
                    flow.stop(1)
                elif kind == "join":
                    flow.start(1)
                else:
                    flow.kill(0)
                    flow.start(0)
                    time.sleep(dice.uniform(0.3, 1.0))
                told.injected += 1
            finally:
                tunnel.forget(hold)
            told.recovered(commits_again(flow, watch, flow.stateful(0), killed))
            if 1 not in flow.running():
                flow.start(1)
    finally:
        told.notes.append("in turn: the second joins, the second leaves, SIGKILL; fetches of the restore are held up 1.5 s each")
