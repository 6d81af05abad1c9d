"""Reads kept bytes with fastavro and writes the values again.

Standard input: one line for each record, schema file and hexadecimal bytes, with a tab between; or
a JSON object instead of the bytes, as a producer would hand it to its serializer.
Standard output: one line for each, the bytes that fastavro writes for the values.
A producer in Python uses this library (confluent-kafka's AvroSerializer does), so what it writes
is what the bus will carry.
"""

import io
import json
import sys

import fastavro


def main() -> None:
    for line in sys.stdin:
        path, given = line.rstrip("\n").split("\t")
        with open(path, encoding="utf-8") as file:
            schema = fastavro.parse_schema(json.load(file))
        if given.startswith("{"):
            value = json.loads(given)
        else:
            source = io.BytesIO(bytes.fromhex(given))
            value = fastavro.schemaless_reader(source, schema, return_record_name=True)
            left = source.read()
            if left:
                sys.exit(f"{path}: {len(left)} bytes after the end")
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        print(out.getvalue().hex())


if __name__ == "__main__":
    main()
