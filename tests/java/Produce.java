import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** A plain Java producer with a Confluent frame of its own sends one client's part of a workload. See produce.py for the arguments. */
public final class Produce {
    private static final ObjectMapper JSON = JsonMapper.builder().enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS).build();

    private record Known(int id, Schema schema) {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            given.put(arguments[i].substring(2), arguments[i + 1]);
        }
        Properties settings = new Properties();
        settings.put("bootstrap.servers", given.get("bootstrap"));
        settings.put("linger.ms", "5");
        settings.put("delivery.timeout.ms", "120000");
        Map<String, Known> schemas = new HashMap<>();
        AtomicReference<Exception> failure = new AtomicReference<>();
        double rate = Double.parseDouble(given.get("rate"));
        List<JsonNode> entries = new ArrayList<>();
        try (var lines = Files.newBufferedReader(Path.of(given.get("workload")))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                JsonNode entry = JSON.readTree(line);
                if (entry.get("client").asText().equals(given.get("client"))) {
                    entries.add(entry);
                }
            }
        }
        int count = 0;
        try (BufferedWriter sent = Files.newBufferedWriter(Path.of(given.get("sent")));
                var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            for (JsonNode entry : entries) {
                String topic = entry.get("topic").asText();
                if (!schemas.containsKey(topic)) {
                    producer.partitionsFor(topic);
                    schemas.put(topic, lookUp(given.get("registry"), topic));
                }
            }
            System.out.println("ready");
            long beginMs = Long.parseLong(new BufferedReader(new InputStreamReader(System.in)).readLine());
            for (JsonNode entry : entries) {
                String topic = entry.get("topic").asText();
                byte[] value;
                if (entry.get("raw").isNull()) {
                    value = frame(schemas.get(topic), entry.get("value"));
                } else {
                    value = HexFormat.of().parseHex(entry.get("raw").asText());
                }
                var record = new ProducerRecord<>(topic, entry.get("key").asText(), value);
                if (!entry.get("event_id").isNull()) {
                    record.headers().add("event_id", entry.get("event_id").asText().getBytes(StandardCharsets.UTF_8));
                }
                long number = entry.get("n").asLong();
                String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(value));
                producer.send(record, (metadata, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                        return;
                    }
                    try {
                        synchronized (sent) {
                            sent.write(number + " " + metadata.partition() + " " + metadata.offset() + " " + digest + "\n");
                        }
                    } catch (java.io.IOException wrong) {
                        failure.compareAndSet(null, wrong);
                    }
                });
                count++;
                long aheadMs = beginMs + (long) (number / rate * 1e3) - System.currentTimeMillis();
                if (aheadMs > 2) {
                    Thread.sleep(aheadMs);
                }
                if (count % 1000 == 0) {
                    System.out.println("sent " + count);
                }
            }
            producer.flush();
        }
        System.out.println("sent " + count);
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    /** The Confluent frame: a zero, the schema's id, the datum. */
    private static byte[] frame(Known known, JsonNode value) throws Exception {
        var body = new ByteArrayOutputStream();
        body.write(0);
        body.write(ByteBuffer.allocate(4).putInt(known.id()).array());
        var encoder = EncoderFactory.get().binaryEncoder(body, null);
        new GenericDatumWriter<GenericRecord>(known.schema()).write((GenericRecord) datum(known.schema(), value), encoder);
        encoder.flush();
        return body.toByteArray();
    }

    private static Known lookUp(String registry, String topic) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(registry + "/subjects/" + topic + "-value/versions/latest")).build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException("the registry answers " + answer.statusCode() + ": " + answer.body());
        }
        JsonNode found = JSON.readTree(answer.body());
        return new Known(found.get("id").asInt(), new Schema.Parser().parse(found.get("schema").asText()));
    }

    private static Object datum(Schema schema, JsonNode value) {
        switch (schema.getType()) {
            case RECORD:
                var builder = new GenericRecordBuilder(schema);
                for (Schema.Field field : schema.getFields()) {
                    JsonNode member = value.get(field.name());
                    if (member != null) {
                        builder.set(field, datum(field.schema(), member));
                    }
                }
                return builder.build();
            case UNION:
                return value.isNull() ? null : datum(schema.getTypes().get(1), value);
            case ARRAY:
                List<Object> items = new ArrayList<>();
                value.forEach(item -> items.add(datum(schema.getElementType(), item)));
                return items;
            case MAP:
                Map<String, Object> members = new HashMap<>();
                value.properties().forEach(member -> members.put(member.getKey(), datum(schema.getValueType(), member.getValue())));
                return members;
            case ENUM:
                return new GenericData.EnumSymbol(schema, value.asText());
            case LONG:
                return value.asLong();
            case INT:
                return value.asInt();
            case DOUBLE:
                return value.asDouble();
            case BOOLEAN:
                return value.asBoolean();
            case STRING:
                return value.asText();
            default:
                throw new IllegalArgumentException("no workload has " + schema);
        }
    }
}
