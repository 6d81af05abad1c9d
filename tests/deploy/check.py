#!/usr/bin/env python3
"""Holds docker-compose.yml, the Dockerfile and Prometheus' configuration to what they speak of.

The published Compose schema, the binary's own list of options and settings, the files of this repository, and each other: ports,
hosts, paths, versions. No container is started and no registry is asked whether an image exists. `docker compose config` and
promtool are run where they are found.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"

faults = []


def hold(true, what):
    """Notes what does not hold, so that all of it is said at once."""
    if not true:
        faults.append(what)


def without(what, required=True):
    """Says what cannot be checked here; CI has everything that is required."""
    if required and os.environ.get("CAIRN_REQUIRE_ALL") == "1":
        sys.exit(f"{what}, and CAIRN_REQUIRE_ALL=1 is set")
    print(f"skipped: {what}")


def output(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def holds(*command):
    status, said = output(*command)
    hold(status == 0, f"{' '.join(map(str, command))}:\n{said}")


class Binary:
    """What the `cairn` binary says of itself."""

    def __init__(self, path):
        self.path = path
        status, said = output(path, "--help")
        assert status == 0, said
        self.environment = set(re.findall(r"\[env: (\w+)=", said + output(path, "run", "--help")[1]))
        status, said = output(path, "config", "--json")
        assert status == 0, said
        self.environment |= {json.loads(line)["environment"] for line in said.splitlines()}

    def takes(self, words, where):
        """Whether it takes these words: with --help behind them it parses them and does nothing."""
        status, said = output(self.path, *words, "--help")
        hold(status == 0, f"{where}: cairn {' '.join(words)}: {said}")


def host_and_port(text):
    found = re.fullmatch(r"(?:\w+://)?([\w.-]+):(\d+)(?:/.*)?", text)
    hold(found, f"{text!r} names no host and port")
    return (found[1], int(found[2])) if found else ("", 0)


def mounts(service):
    """Volumes and folders, by the path inside the container."""
    return {entry.split(":")[1]: entry.split(":")[0] for entry in service.get("volumes", [])}


def check_pipeline(name, service, services, binary):
    """A service that runs our own image."""
    where = f"docker-compose.yml, {name}"
    environment = service.get("environment", {})
    for variable in environment:
        hold(variable in binary.environment, f"{where}: cairn reads no {variable}")
    words = service.get("command", [])
    if service.get("entrypoint") == ["sh", "-c"]:
        for command in re.findall(r"\bcairn ((?:[a-z]+ ?)+)", words[0]):
            binary.takes(command.split(), where)
        for variable in re.findall(r"\$\$(\w+)", words[0]):
            hold(variable in environment, f"{where}: ${variable} is not set")
    else:
        binary.takes(words, where)
    for variable in ("CAIRN_KAFKA", "CAIRN_REGISTRY"):
        host, _ = host_and_port(environment.get(variable, ""))
        hold(host in services, f"{where}: {variable} names {host}, which is no service")
    inside = mounts(service)
    data = environment.get("CAIRN_DATA", "")
    hold(any(data == path or data.startswith(path + "/") for path in inside), f"{where}: {data} is on no volume")
    _, listen_port = host_and_port(environment.get("CAIRN_GATEWAY_LISTEN", ""))
    for published in service.get("ports", []):
        hold(int(published.split(":")[-1]) == listen_port, f"{where}: {published} is published, the gateway listens on {listen_port}")
    for path, source in inside.items():
        if source.startswith("."):
            hold((ROOT / source).exists(), f"{where}: there is no {source} to be mounted at {path}")
    return data, listen_port


def check_servers(services):
    """Kafka and the registry: where they listen, what they keep, and that they are the ones that the tests speak to."""
    kafka, registry = services["kafka"], services["registry"]
    environment = kafka["environment"]
    advertised = environment["KAFKA_ADVERTISED_LISTENERS"].removeprefix("PLAINTEXT://")
    ours = services["pipeline"]["environment"]
    hold(ours["CAIRN_KAFKA"] == advertised, f"Kafka advertises {advertised}, the pipeline asks {ours['CAIRN_KAFKA']}")
    hold(registry["environment"]["APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"] == advertised, "the registry keeps its schemas elsewhere")
    hold(environment.get("KAFKA_LOG_DIRS") in mounts(kafka), "Kafka's log is on no volume")
    _, port = host_and_port(ours["CAIRN_REGISTRY"])
    hold(any(int(entry.split(":")[-1]) == port for entry in registry["ports"]), f"the registry does not listen on {port}")
    pom = (ROOT / "tests/servers/pom.xml").read_text()
    tested = {
        "kafka": re.search(r"<artifactId>kafka_2.13</artifactId><version>([\d.]+)<", pom)[1],
        "registry": re.search(r"Apicurio Registry (\d+\.\d+\.\d+)|registry \(Apicurio (\d+\.\d+\.\d+)", pom)[2],
    }
    for name, version in tested.items():
        image = services[name]["image"]
        hold(image.endswith(f":{version}"), f"{image} is not the version that the tests run against, {version}")


def check_dockerfile(data, listen_port, compose_text):
    text = (ROOT / "Dockerfile").read_text()
    toolchain = re.search(r'channel = "(\d+\.\d+)', (ROOT / "rust-toolchain.toml").read_text())[1]
    hold(re.search(rf"^FROM rust:{re.escape(toolchain)}-(\w+)", text, re.M), f"the Dockerfile does not build with Rust {toolchain}")
    bases = re.findall(r"^FROM (?:rust:[\d.]+-|debian:)(\w+)", text, re.M)
    hold(len(bases) == 2 and bases[0] == bases[1], f"built and run on different Debians: {bases}")
    hold(f"EXPOSE {listen_port}\n" in text, f"the Dockerfile does not expose {listen_port}")
    package = re.search(r"cargo build --release --locked -p (\S+)", text)[1]
    manifest = (ROOT / "pipeline/Cargo.toml").read_text()
    hold(f'name = "{package}"' in manifest, f"pipeline/Cargo.toml is not {package}")
    binary = re.search(r"/target/release/(\S+)", text)[1]
    hold(f'[[bin]]\nname = "{binary}"' in manifest, f"{package} has no binary {binary}")
    home = re.search(r"--home-dir (\S+)", text)[1]
    hold(data.startswith(home + "/"), f"{data} is not below the home directory {home}, where the key lies that is not to be in the data")
    ignored = (ROOT / ".dockerignore").read_text().split()
    hold("target" in ignored and ".git" in ignored, ".dockerignore lets target or .git into the image's build")
    for folder in re.findall(r"run --rm pipeline ingest (/\S+)", compose_text):
        hold((ROOT / folder.lstrip("/")).is_dir(), f"the comment names {folder}, which ./examples does not have")


def check_prometheus(services, listen_port, load):
    service = services["prometheus"]
    inside = mounts(service)
    for word in service["command"]:
        path = word.removeprefix("--config.file=")
        hold(path in inside and (ROOT / inside[path]).resolve() == PROMETHEUS, f"prometheus reads {path}, which is not mounted")
    config = load(PROMETHEUS)
    targets = [target for job in config["scrape_configs"] for each in job["static_configs"] for target in each["targets"]]
    hold(f"pipeline:{listen_port}" in targets, f"prometheus does not scrape pipeline:{listen_port}")
    for target in targets:
        hold(host_and_port(target)[0] in services, f"prometheus scrapes {target}, which is no service")
    tests = load(PROMETHEUS.with_name("rules.test.yml"))["tests"]
    fires = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    known = set(re.findall(r"`(cairn_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for path in config.get("rule_files", []):
        source = inside.get(path)
        hold(source and (ROOT / source).is_file(), f"prometheus reads rules from {path}, which is not mounted")
        for group in load(ROOT / source)["groups"] if source else []:
            for rule in group["rules"]:
                hold(rule["alert"] in fires, f"{rule['alert']}: no series of rules.test.yml makes it fire")
                for metric in re.findall(r"\bcairn_\w+?(?=(?:_bucket|_sum|_count)?\b)", rule["expr"]):
                    hold(metric in known, f"{rule['alert']} asks for {metric}, which is no metric")
    promtool = shutil.which(os.environ.get("CAIRN_PROMTOOL", "promtool"))
    if promtool:
        holds(promtool, "check", "config", "--syntax-only", PROMETHEUS)
        holds(promtool, "check", "rules", PROMETHEUS.with_name("rules.yml"))
        holds(promtool, "test", "rules", PROMETHEUS.with_name("rules.test.yml"))
    else:
        without("promtool is not installed: Prometheus' own check of its configuration and alerts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cairn", required=True, help="the binary")
    options = parser.parse_args()
    try:
        import check_jsonschema  # noqa: F401
        from ruamel.yaml import YAML
    except ImportError as error:
        return without(f"{error}; the deployment is checked with what tests/requirements.txt names")

    def load(path):
        return YAML(typ="safe").load(path)

    holds(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    services = load(COMPOSE)["services"]
    binary = Binary(options.cairn)
    built = {name: service for name, service in services.items() if service.get("build") == "."}
    hold({"topics", "pipeline"} <= set(built), f"built from this repository: {sorted(built)}")
    places = {check_pipeline(name, service, services, binary) for name, service in built.items()}
    hold(len(places) == 1, f"services of ours differ in data and port: {sorted(places)}")
    data, listen_port = min(places)
    for name, service in services.items():
        image = service["image"]
        hold(service.get("build") or re.search(r":v?\d+\.\d+\.\d+$", image), f"{name}: {image} names no exact version")
        for other in service.get("depends_on", {}):
            hold(other in services, f"{name} depends on {other}, which is no service")
    check_servers(services)
    check_dockerfile(data, listen_port, COMPOSE.read_text())
    check_prometheus(services, listen_port, load)
    if shutil.which("docker") and output("docker", "compose", "version")[0] == 0:
        holds("docker", "compose", "-f", COMPOSE, "config", "--quiet")
    else:
        without("docker compose is not installed: its own check of docker-compose.yml", required=False)
    for fault in faults:
        print(f"wrong: {fault}")
    print(f"{len(services)} services, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
