package segstream.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;

/** An order or a refund of Segment-spec JSON, read with Jackson's streaming parser; money in cents, times in microseconds. */
final class Event {
    private static final JsonFactory JSON = new JsonFactory();

    enum Kind { COMPLETED, REFUNDED }

    Kind kind;
    String userId;
    String orderId;
    long at;
    long total;
    final List<String> brands = new ArrayList<>(4);
    final List<String> categories = new ArrayList<>(4);

    static Event read(byte[] value) throws IOException {
        Event event = new Event();
        String type = null;
        String name = null;
        try (JsonParser in = JSON.createParser(value)) {
            in.nextToken();
            while (in.nextToken() != JsonToken.END_OBJECT) {
                String field = in.currentName();
                in.nextToken();
                switch (field) {
                    case "type" -> type = in.getText();
                    case "event" -> name = in.getText();
                    case "userId" -> event.userId = in.getText();
                    case "timestamp" -> event.at = micros(in.getText());
                    case "properties" -> event.readProperties(in);
                    default -> in.skipChildren();
                }
            }
        }
        if (!"track".equals(type) || event.userId == null || event.orderId == null) {
            throw new IOException("not an event of an order");
        }
        event.kind = switch (name) {
            case "Order Completed" -> Kind.COMPLETED;
            case "Order Refunded" -> Kind.REFUNDED;
            default -> throw new IOException("event " + name + " is not used here");
        };
        return event;
    }

    private void readProperties(JsonParser in) throws IOException {
        boolean hasTotal = false;
        long sum = 0;
        while (in.nextToken() != JsonToken.END_OBJECT) {
            String field = in.currentName();
            in.nextToken();
            switch (field) {
                case "order_id" -> orderId = in.getText();
                case "total" -> {
                    total = cents(in.getDoubleValue());
                    hasTotal = true;
                }
                case "products" -> {
                    while (in.nextToken() != JsonToken.END_ARRAY) {
                        sum += readProduct(in);
                    }
                }
                default -> in.skipChildren();
            }
        }
        if (!hasTotal) {
            total = sum;
        }
    }

    private long readProduct(JsonParser in) throws IOException {
        String brand = null;
        String category = null;
        long price = 0;
        long quantity = 1;
        while (in.nextToken() != JsonToken.END_OBJECT) {
            String field = in.currentName();
            in.nextToken();
            switch (field) {
                case "brand" -> brand = in.getText();
                case "category" -> category = in.getText();
                case "price" -> price = cents(in.getDoubleValue());
                case "quantity" -> quantity = in.getLongValue();
                default -> in.skipChildren();
            }
        }
        brands.add(brand);
        categories.add(category);
        return price * quantity;
    }

    private static long cents(double amount) {
        return (long) Math.floor(amount * 100.0 + 0.5);
    }

    private static long micros(String text) {
        Instant instant = OffsetDateTime.parse(text).toInstant();
        return instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1000;
    }
}
