"""What the proxy saw of transactions: who committed when, who began anew, and who went on where it must not."""

import threading
import time
from collections import defaultdict

import proxy

JOIN = 11


class Watch:
    """Told of every frame; asked by the campaign. Producers are known by (transactional id, producer id, epoch)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.commits = defaultdict(list)  # transactional id: (time, epoch) of each commit that the broker confirmed
        self.fresh = defaultdict(list)  # transactional id: (time, producer, epoch) of each new producer
        self.bumped = 0
        self.suspects = {}  # (transactional id, producer, epoch): time of an indefinite outcome
        self.ended = set()  # suspects whose transaction has ended
        self.went_on = []  # frames of a later transaction by a suspect
        self.handed = {}  # the same key: when the offsets of its open transaction were handed over
        self.zombies = {}  # the same key: (time since which it stood still, time since which it works again): it must not commit
        # A transaction whose offsets were handed over before its owner was woken (then it was before the stop: who stands still says nothing,
        # only the proxy may have been late to read it) may be ended by it: nobody has gone on with these partitions meanwhile, as their
        # offsets are not stable, and after the time-out it would have been aborted.
        self.zombie_commits, self.zombie_ends, self.zombie_tries = [], [], 0

    def __call__(self, what, frame):
        if frame.transactional is None:
            if frame.api == JOIN and what == "answer" and self.zombies:
                self._joined(frame)
            return
        with self.lock:
            if what == "request":
                self._request(frame)
            else:
                self._answer(frame)

    def _joined(self, frame):
        """Our clients are named after their transactional id; who is a member again may commit again."""
        with self.lock:
            for key in [key for key in self.zombies if key[0] == frame.client]:
                del self.zombies[key]

    def _request(self, frame):
        if frame.api == proxy.INIT:
            frame.asked_by = frame.producer
            return
        key = (frame.transactional, frame.producer, frame.epoch)
        if key in self.zombies and frame.api in (proxy.END, proxy.OFFSETS, proxy.ADD_OFFSETS, proxy.ADD_PARTITIONS):
            self.zombie_tries += 1
        if frame.api == proxy.OFFSETS:
            self.handed[key] = frame.at
        if key in self.ended and frame.api in (proxy.ADD_PARTITIONS, proxy.ADD_OFFSETS, proxy.OFFSETS):
            self.went_on.append(frame)

    def _answer(self, frame):
        now = time.monotonic()
        if frame.api == proxy.INIT and frame.error == 0:
            if getattr(frame, "asked_by", -1) in (-1, None):
                self.fresh[frame.transactional].append((now, frame.producer, frame.epoch))
            else:
                self.bumped += 1
        elif frame.api == proxy.END and frame.error == 0:
            key = (frame.transactional, frame.producer, frame.epoch)
            if key in self.suspects:
                self.ended.add(key)
            if frame.commit:
                self.commits[frame.transactional].append((now, frame.producer, frame.epoch))
                if key in self.zombies:
                    self._zombie_committed(key, now)
            self.handed.pop(key, None)

    def _zombie_committed(self, key, now):
        stood, woke = self.zombies[key]
        handed = self.handed.get(key)
        offsets = f"handed over {handed - stood:+.3f} s from the stop" if handed else "none"
        said = f"{key[0]}, {now - woke:.3f} s after it was woken ({woke - stood:.1f} s after the stop), its offsets {offsets}"
        (self.zombie_ends if handed and handed < woke else self.zombie_commits).append(said)

    def suspect(self, frame):
        """From here on this producer may end the transaction it has, and begin no other."""
        with self.lock:
            key = (frame.transactional, frame.producer, frame.epoch)
            self.suspects[key] = time.monotonic()
            return key

    def zombie(self, whose, stood):
        """Whoever has such a transactional id now, and has stood still since, must not commit any more."""
        with self.lock:
            for name, seen in self.fresh.items():
                if whose(name) and seen:
                    self.zombies[(name, *seen[-1][1:])] = stood, time.monotonic()

    def first_commit(self, whose, since, anew):
        """When somebody with such a transactional id committed for the first time after a moment; `anew`: as a producer that began after
        it, so that what its predecessor had under way does not count."""
        with self.lock:
            times = []
            for name, seen in self.commits.items():
                if whose(name):
                    young = {each[1:] for each in self.fresh[name] if each[0] > since}
                    times.append(_after([each for each in seen[-500:] if not anew or each[1:] in young], since))
        return min((moment for moment in times if moment is not None), default=None)

    def at_work(self, whose, since):
        """The transactional ids of these that have committed since."""
        with self.lock:
            return {name for name, seen in self.commits.items() if whose(name) and seen and seen[-1][0] > since}

    def second_commit(self, name, since):
        """When somebody's second commit after a moment was confirmed: of the first one, all but the end may have been done before."""
        with self.lock:
            times = [moment for moment, *_ in self.commits[name] if moment > since]
        return times[1] if len(times) > 1 else None

    def new_producer(self, name, since):
        with self.lock:
            return _after(self.fresh.get(name, []), since)

    def commits_since(self, whose, since):
        with self.lock:
            return sum(sum(t > since for t, *_ in seen[-500:]) for name, seen in self.commits.items() if whose(name))


def _after(seen, since):
    found = None
    for moment, *_ in reversed(seen):
        if moment <= since:
            break
        found = moment
    return found
