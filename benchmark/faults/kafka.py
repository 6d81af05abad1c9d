"""One broker or three that can be killed and started again, each with a second listener whose advertised port is its proxy's.

What is under test goes through the proxy, what feeds and judges it goes straight to the brokers.
"""

import json
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

import servers  # noqa: E402
from common import Trouble  # noqa: E402

# what differs from the broker of tests/oracle: the listener behind the proxy, sessions as short as a test wants them
PROPERTIES = servers.PROPERTIES.replace(
    "listeners=PLAINTEXT://localhost:{port},CONTROLLER", "listeners=PLAINTEXT://localhost:{port},PROXIED://localhost:{behind},CONTROLLER", 1
).replace(
    "advertised.listeners=PLAINTEXT://localhost:{port}", "advertised.listeners=PLAINTEXT://localhost:{port},PROXIED://localhost:{proxy}"
).replace(
    "listener.security.protocol.map=", "listener.security.protocol.map=PROXIED:PLAINTEXT,"
).replace("localhost", "127.0.0.1") + """\
# a broker that was killed may register again only when its old session (9 s) is over; on a busy machine it needs longer to get there
initial.broker.registration.timeout.ms=180000
"""

# what a broker of three has instead: in a properties file the later of two lines holds
OF_THREE = """\
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# leaders go back to the broker that should lead within seconds and not within five minutes, so that each kill finds one that leads a third
leader.imbalance.check.interval.seconds=5
"""


class Broker:
    """Kafka in one process under `work`; `state.json` beside it is what the benchmark's harness looks for."""

    replication = 1

    def __init__(self, work, scan_ms=1000, name="kafka", more="", controller=None, heap=("512m", "1g")):
        self.home = work / name
        self.home.mkdir(parents=True, exist_ok=True)
        self.port, self.behind, self.proxy_port = servers.free_port(), servers.free_port(), servers.free_port()
        self.jars = f"{servers.folder(servers.KAFKA)}/*"
        self.config = self.home / "server.properties"
        self.scan_ms, self.heap = scan_ms, heap
        text = PROPERTIES.format(port=self.port, behind=self.behind, proxy=self.proxy_port, controller=controller or servers.free_port(),
                                 folder=self.home)
        self.config.write_text(text.replace("cleanup.interval.ms=1000", f"cleanup.interval.ms={scan_ms}") + more)
        formatting = ["java", "-XX:TieredStopAtLevel=1", "-cp", self.jars, "kafka.tools.StorageTool", "format", "-t",
                      "Y2Fpcm4tdGVzdHMtc2VydmVyLQ", "-c", str(self.config)]
        ran = subprocess.run(formatting, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        if ran.returncode != 0:
            raise Trouble(f"formatting the broker's storage: {ran.stdout[-500:]}{ran.stderr[-500:]}")
        self.starts, self.server = 0, None

    @property
    def direct(self):
        return f"127.0.0.1:{self.port}"

    @property
    def proxied(self):
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def nodes(self):
        return [self]

    def start(self):
        self.launch()
        self.server.wait_for(self.answers, "Kafka")

    def launch(self):
        self.starts += 1
        least, most = self.heap
        command = ["java", f"-Xms{least}", f"-Xmx{most}", "-XX:+UseG1GC", "-cp", self.jars, "kafka.Kafka", str(self.config)]
        self.server = servers.Server(command, self.home / f"broker-{self.starts}.log", start_new_session=True)
        (self.home / "state.json").write_text(json.dumps({"pid": self.server.process.pid, "port": self.port}))

    def answers(self):
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            return bool(AdminClient({"bootstrap.servers": self.direct, "log_level": 0}).list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def kill(self):
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait(timeout=30)

    def stop(self):
        if self.server is not None:
            self.server.stop()


class Cluster:
    """Three such brokers, each a voter of the controllers' quorum too; every topic has three replicas, two of which must have a record."""

    replication = 3

    def __init__(self, work):
        controllers = [servers.free_port() for _ in range(3)]
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers, 1))
        self.nodes = [Broker(work, name=f"kafka-{node}", more=OF_THREE.format(node=node, voters=voters), controller=port, heap=("256m", "512m"))
                      for node, port in enumerate(controllers, 1)]

    @property
    def direct(self):
        return ",".join(node.direct for node in self.nodes)

    @property
    def proxied(self):
        return ",".join(node.proxied for node in self.nodes)

    @property
    def server(self):
        return self.nodes[0].server

    @property
    def port(self):
        return self.nodes[0].port

    def start(self):
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.server.wait_for(node.answers, "Kafka")
        wait_until("three brokers", 60, self.whole)

    def topics(self):
        """Topics by name as the cluster describes them; none where it does not answer."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            found = AdminClient({"bootstrap.servers": self.direct, "log_level": 0}).list_topics(timeout=5)
        except KafkaException:
            return None
        return found.topics if len(found.brokers) == len(self.nodes) else None

    def whole(self):
        """Whether all three are there, and every replica of every partition is in step. To be asked when a killed one answers again: until
        its session is over or it registers anew, the cluster does not know that it is gone."""
        topics = self.topics()
        return topics is not None and all(
            place.leader > 0 and len(place.isrs) == len(place.replicas) == self.replication
            for topic in topics.values() for place in topic.partitions.values())

    def led_by(self, node):
        """How many partitions a broker leads, by topic."""
        number = self.nodes.index(node) + 1
        led = {name: sum(place.leader == number for place in topic.partitions.values()) for name, topic in (self.topics() or {}).items()}
        return {name: count for name, count in led.items() if count}

    def elections(self):
        """The epoch of the quorum's leader: by how much it has grown is how often the controllers elected."""
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", self.nodes[0].jars, "org.apache.kafka.tools.MetadataQuorumCommand",
                   "--bootstrap-server", self.direct, "describe", "--status"]
        ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        for line in ran.stdout.splitlines():
            if line.startswith("LeaderEpoch:"):
                return int(line.split()[1])
        raise Trouble(f"the quorum's epoch: {ran.stdout[-300:]}{ran.stderr[-300:]}")

    def stop(self):
        for node in self.nodes:
            node.stop()


def wait_until(what, patience_s, look, every_s=0.05):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every_s)  # between two looks
    raise Trouble(f"{what} did not come within {patience_s:.0f} s")
