"""One Kafka broker and one Apicurio registry from Maven Central's archives, on free ports, ended by their handles.

The archives lie where `bus/src/testing` puts them too; the settings are those of that module, as far as these tests need them.
"""

import fcntl
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request

from common import ROOT, Trouble, servers_folder

KAFKA, APICURIO, AVRO = "kafka-4.3.1", "apicurio-3.0.9", "avro-1.12.1"
START_S = 240

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:{controller}
listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}
advertised.listeners=PLAINTEXT://localhost:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
num.io.threads=2
num.network.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


def _maven(*arguments):
    ran = subprocess.run(["mvn", "-q", "-B", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    if ran.returncode != 0:
        raise Trouble(f"mvn {' '.join(arguments)}: {ran.stdout[-1500:]}")


def _copy(artifact, folder):
    _maven("dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")


def _fetch_kafka(folder):
    _maven("-f", str(ROOT / "tests" / "servers" / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={folder}")


def _fetch_apicurio(folder):
    _copy("io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all", folder)
    archive = folder / "apicurio-registry-app-3.0.9-all.tar.gz"
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True, timeout=120)
    archive.unlink()


def _fetch_avro(folder):
    _copy("org.apache.avro:avro:1.12.1:jar", folder)


FETCH = {KAFKA: _fetch_kafka, APICURIO: _fetch_apicurio, AVRO: _fetch_avro}


def folder(name):
    """The folder of an archive, fetched once by whoever comes first."""
    root = servers_folder()
    root.mkdir(parents=True, exist_ok=True)
    wanted = root / name
    with open(root / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (wanted / "complete").exists():
            part = root / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(wanted, ignore_errors=True)
            part.mkdir()
            FETCH[name](part)
            (part / "complete").touch()
            part.rename(wanted)
    return wanted


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Server:
    """A process with its log; `stop` ends it and waits until it is gone."""

    def __init__(self, command, log, **more):
        self.log = pathlib.Path(log)
        with open(log, "w") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **more)

    def wait_for(self, is_up, what):
        end = time.monotonic() + START_S
        while not is_up():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Trouble(f"{what} did not start: {self.log.read_text()[-1500:]}")
            time.sleep(0.1)  # between two looks

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=30)


def kafka(work):
    """A broker under `work`; (server, host:port)."""
    jars = f"{folder(KAFKA)}/*"
    home = work / "kafka"
    home.mkdir()
    port = free_port()
    config = home / "server.properties"
    config.write_text(PROPERTIES.format(port=port, controller=free_port(), folder=home))
    formatting = ["java", "-XX:TieredStopAtLevel=1", "-cp", jars, "kafka.tools.StorageTool", "format", "-t", "Y2Fpcm4tdGVzdHMtc2VydmVyLQ",
                  "-c", str(config)]
    ran = subprocess.run(formatting, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    if ran.returncode != 0:
        raise Trouble(f"formatting the broker's storage: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    server = Server(["java", "-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-cp", jars, "kafka.Kafka", str(config)], home / "broker.log")
    bootstrap = f"localhost:{port}"

    def is_up():
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    try:
        server.wait_for(is_up, "Kafka")
    except BaseException:
        server.stop()
        raise
    return server, bootstrap


def registry(work):
    """A registry in memory; (server, URL)."""
    home = work / "registry"
    home.mkdir()
    port = free_port()
    jar = folder(APICURIO) / "apicurio-registry-app-3.0.9-runner.jar"
    command = ["java", "-Xmx384m", "-XX:+UseSerialGC", f"-Dquarkus.http.port={port}", "-jar", str(jar)]
    server = Server(command, home / "registry.log", cwd=home)
    url = f"http://localhost:{port}/apis/ccompat/v7"

    def is_up():
        try:
            with urllib.request.urlopen(f"{url}/subjects", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        server.wait_for(is_up, "the registry")
    except BaseException:
        server.stop()
        raise
    return server, url


def java_producer(work):
    """The Java producer, compiled; the command that starts it."""
    classes = work / "classes"
    classes.mkdir()
    path = f"{folder(KAFKA)}/*:{folder(AVRO)}/*"
    source = ROOT / "tests" / "java" / "Produce.java"
    ran = subprocess.run(["javac", "-cp", path, "-d", str(classes), str(source)], capture_output=True, text=True, timeout=120)
    if ran.returncode != 0:
        raise Trouble(f"javac: {ran.stderr[-1500:]}")
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{classes}:{path}", "Produce"]
