package segstream.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** Folds an event into its customer, scores, and forwards the change of segment, if there is one, to both topics. */
final class Segmenter implements Processor<String, byte[], String, byte[]> {
    private static final JsonFactory JSON = new JsonFactory();
    private static final DateTimeFormatter SECONDS = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss").withZone(ZoneOffset.UTC);

    private final Model model;
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, Customer> store;

    Segmenter(Model model) {
        this.model = model;
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        store = context.getStateStore(Main.STORE);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        RecordMetadata source = context.recordMetadata().orElseThrow();
        try {
            Customer customer = store.get(record.key());
            if (customer == null) {
                customer = new Customer();
            }
            if (source.offset() <= customer.applied) {
                return;
            }
            Event event = Event.read(record.value());
            boolean changed = customer.update(event);
            customer.applied = source.offset();
            if (changed || customer.segment == null) {
                decide(record, customer, event, "orders:" + source.partition() + ":" + source.offset());
            }
            store.put(record.key(), customer);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private void decide(Record<String, byte[]> record, Customer customer, Event event, String causedBy) throws IOException {
        double orders = customer.sales;
        double spend = customer.spend / 100.0;
        double[] features = {orders, spend, customer.sales == 0 ? 0.0 : spend / customer.sales, customer.categories.distinct(),
            customer.sales == 0 ? 0.0 : Math.min(1.0, (double) customer.returns / customer.sales)};
        boolean prospect = customer.sales == 0;
        Model.Assignment assigned = prospect ? null : model.assign(features, customer.segment);
        String segment = prospect ? "prospect" : model.segments[assigned.segment()];
        if (segment.equals(customer.segment)) {
            return;
        }
        String from = customer.segment;
        customer.segment = segment;
        customer.sequence++;
        String changeId = event.userId + ":" + causedBy + ":" + customer.sequence;
        Instant now = Instant.now();
        String decidedAt = rfc3339(now.getEpochSecond() * 1_000_000 + now.getNano() / 1000);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(768);
        try (JsonGenerator out = JSON.createGenerator(bytes)) {
            out.writeStartObject();
            out.writeStringField("change_id", changeId);
            out.writeStringField("user_id", event.userId);
            out.writeStringField("from_segment", from);
            out.writeStringField("from_name", from == null ? null : name(from));
            out.writeStringField("to_segment", segment);
            out.writeStringField("to_name", name(segment));
            out.writeStringField("cause", "behaviour");
            out.writeStringField("caused_by", causedBy);
            out.writeStringField("model_id", model.id);
            out.writeStringField("feature_spec", model.spec);
            out.writeNumberField("margin", prospect ? 0.0 : assigned.margin());
            out.writeObjectFieldStart("features");
            for (int i = 0; i < features.length; i++) {
                out.writeNumberField(Model.FEATURES[i], features[i]);
            }
            for (String trait : new String[] {"age", "gender", "country", "traffic_source"}) {
                out.writeNullField(trait);
            }
            out.writeStringField("brand", customer.brands.top());
            out.writeStringField("category", customer.categories.top());
            out.writeEndObject();
            out.writeStringField("event_time", rfc3339(event.at));
            out.writeStringField("decided_at", decidedAt);
            out.writeNumberField("sequence", customer.sequence);
            out.writeEndObject();
        }
        Record<String, byte[]> change = record.withValue(bytes.toByteArray()).withHeaders(headers(changeId, event.userId, decidedAt));
        context.forward(change, Main.CHANGES);
        context.forward(change, Main.STATE);
    }

    private String name(String segment) {
        int index = model.index(segment);
        return index < 0 ? "Prospects" : model.names[index];
    }

    private static Headers headers(String changeId, String user, String decidedAt) {
        RecordHeaders headers = new RecordHeaders();
        String[][] pairs = {{"ce_specversion", "1.0"}, {"ce_id", changeId}, {"ce_type", "segment.changed"}, {"ce_source", "segstream"},
            {"ce_time", decidedAt}, {"ce_subject", user}, {"content-type", "application/json"}};
        for (String[] pair : pairs) {
            headers.add(pair[0], pair[1].getBytes(StandardCharsets.UTF_8));
        }
        return headers;
    }

    /** RFC 3339 with microseconds only where there are some. */
    private static String rfc3339(long micros) {
        String seconds = SECONDS.format(Instant.ofEpochSecond(Math.floorDiv(micros, 1_000_000L)));
        long fraction = Math.floorMod(micros, 1_000_000L);
        return fraction == 0 ? seconds + "Z" : seconds + "." + String.format("%06d", fraction) + "Z";
    }
}
