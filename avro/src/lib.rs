//! Every record on the bus: schemas, framing, Avro to Arrow and back.
