"""A stock confluent-kafka producer with AvroSerializer sends one client's part of a workload.

    produce.py --workload FILE --client python --bootstrap HOST:PORT --registry URL --sent FILE --rate RECORDS_A_SECOND

Says `ready` when it has all that it needs, and is told a time (milliseconds since 1970) on standard input. Record n of the whole
workload is sent n / rate seconds after it, so that two clients go along the list together. Writes a line for each delivered record (number, partition, offset, SHA-256 of the value) and says how far it is on standard output.
"""

import argparse
import hashlib
import json
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def main():
    parser = argparse.ArgumentParser()
    for name in ("workload", "client", "bootstrap", "registry", "sent"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    registry = SchemaRegistryClient({"url": arguments.registry})
    serializers = {}

    def serialize(topic, value):
        if topic not in serializers:
            schema = registry.get_latest_version(f"{topic}-value").schema
            # the schema is the registry's own: nothing is registered, the latest version is used, as the documentation says
            serializers[topic] = AvroSerializer(registry, schema)
        return serializers[topic](value, SerializationContext(topic, MessageField.VALUE))

    producer = Producer({
        "bootstrap.servers": arguments.bootstrap, "enable.idempotence": True, "linger.ms": 5, "delivery.timeout.ms": 120000,
    })
    with open(arguments.workload) as lines:
        entries = [entry for entry in map(json.loads, lines) if entry["client"] == arguments.client]
    for topic in sorted({entry["topic"] for entry in entries}):
        producer.list_topics(topic, timeout=30)
    for entry in {entry["topic"]: entry for entry in entries if entry["raw"] is None}.values():
        serialize(entry["topic"], entry["value"])
    print("ready", flush=True)
    begin_s = int(sys.stdin.readline()) / 1000
    failures = []
    with open(arguments.sent, "w") as sent:
        count = 0
        for entry in entries:
            raw = entry["raw"]
            value = bytes.fromhex(raw) if raw is not None else serialize(entry["topic"], entry["value"])
            digest = hashlib.sha256(value).hexdigest()

            def delivered(error, message, number=entry["n"], digest=digest):
                if error is not None:
                    failures.append(f"record {number}: {error}")
                    return
                sent.write(f"{number} {message.partition()} {message.offset()} {digest}\n")

            headers = {"event_id": entry["event_id"].encode()} if entry["event_id"] else None
            while True:
                try:
                    producer.produce(entry["topic"], key=entry["key"], value=value, headers=headers, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
            while (ahead := begin_s + entry["n"] / arguments.rate - time.time()) > 0.002:
                producer.poll(ahead)
            if count % 1000 == 0:
                print(f"sent {count}", flush=True)
        left = producer.flush(120)
    print(f"sent {count}", flush=True)
    if left or failures:
        sys.exit(f"{left} records were not delivered; {failures[:3]}")


if __name__ == "__main__":
    main()
