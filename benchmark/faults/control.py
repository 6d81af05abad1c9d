"""Why a producer is thrown away after an indefinite answer: a stock librdkafka producer that is not, and what it commits.

Its commit is delayed beyond the client's time-out. librdkafka repeats it on a new connection, reports success, and the application
goes on; then the first copy arrives and commits the *next* transaction while that is still open.
"""

import time

import proxy
import scenarios

EXPECTED = ["one", "two"]


def hazard(stage):
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    watch, told = stage.watch(), scenarios.Told()
    admin = AdminClient({"bootstrap.servers": stage.broker.direct})
    for future in admin.create_topics([NewTopic("control", 1, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": stage.broker.proxied, "transactional.id": "control", "transaction.timeout.ms": 10_000,
                         "socket.timeout.ms": 2_000, "log_level": 0})
    producer.init_transactions(30)

    def transaction(text):
        producer.begin_transaction()
        producer.produce("control", text.encode())
        producer.flush(10)

    transaction("one")
    producer.commit_transaction(30)
    transaction("two")
    delayed = stage.tunnel.inject(proxy.Fault(lambda f: f.api == proxy.END, "before", "delay", 4.0))
    producer.commit_transaction(30)
    transaction("three, never to be committed")
    delayed.over.wait(10)
    time.sleep(1.0)  # for the broker to have written the marker
    consumer = Consumer({"bootstrap.servers": stage.broker.direct, "group.id": "control", "isolation.level": "read_committed"})
    consumer.assign([TopicPartition("control", 0, 0)])
    seen = [message.value().decode() for message in consumer.consume(10, timeout=3.0) if not message.error()]
    consumer.close()
    told.injected = 1
    producers = len(watch.fresh["control"])
    if seen == EXPECTED:
        told.findings.append("the hazard did not show: is the control still one?")
    told.notes.append(f"the client reported success and went on with the same producer ({producers} in all); committed and readable: {seen}; "
                      "the last was open and never committed by its owner")
    return told, {"rows": 3, "outputs": 2, "lost": 0, "doubled": len(seen) - 2, "wrong": 0, "verdict": "the hazard shows"}
