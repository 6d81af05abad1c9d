"""One broker that can be killed and started again, with a second listener whose advertised port is the proxy's.

What is under test goes through the proxy, what feeds and judges it goes straight to the broker.
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


class Broker:
    """Kafka in one process under `work`; `state.json` beside it is what the benchmark's harness looks for."""

    def __init__(self, work, scan_ms=1000):
        self.home = work / "kafka"
        self.home.mkdir(parents=True, exist_ok=True)
        self.port, self.behind, self.proxy_port = servers.free_port(), servers.free_port(), servers.free_port()
        self.jars = f"{servers.folder(servers.KAFKA)}/*"
        self.config = self.home / "server.properties"
        self.scan_ms = scan_ms
        text = PROPERTIES.format(port=self.port, behind=self.behind, proxy=self.proxy_port, controller=servers.free_port(), folder=self.home)
        self.config.write_text(text.replace("cleanup.interval.ms=1000", f"cleanup.interval.ms={scan_ms}"))
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

    def start(self):
        self.starts += 1
        command = ["java", "-Xms512m", "-Xmx1g", "-XX:+UseG1GC", "-cp", self.jars, "kafka.Kafka", str(self.config)]
        self.server = servers.Server(command, self.home / f"broker-{self.starts}.log", start_new_session=True)
        (self.home / "state.json").write_text(json.dumps({"pid": self.server.process.pid, "port": self.port}))
        self.server.wait_for(self.answers, "Kafka")

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


def wait_until(what, patience_s, look, every_s=0.05):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every_s)  # between two looks
    raise Trouble(f"{what} did not come within {patience_s:.0f} s")
