package segstream.bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What is remembered of one customer. Orders are kept by id, so that a duplicate changes nothing; sums are derived. */
final class Customer {
    private static final byte PLACED = 1;
    private static final byte RETURNED = 4;

    private static final class Order {
        byte flags;
        long at;
        long total;
        int[] brands = {};
        int[] categories = {};
    }

    private final Map<String, Order> orders = new LinkedHashMap<>();
    final Tally brands = new Tally();
    final Tally categories = new Tally();
    String segment;
    int sequence;
    long applied = -1;
    long sales;
    long spend;
    long returns;

    /** Whether the event did anything. */
    boolean update(Event event) {
        Order known = orders.get(event.orderId);
        if (event.kind == Event.Kind.REFUNDED) {
            if (known == null) {
                known = new Order();
                orders.put(event.orderId, known);
            }
            if ((known.flags & RETURNED) != 0) {
                return false;
            }
            known.flags |= RETURNED;
            returns++;
            return true;
        }
        if (known != null && (known.flags & PLACED) != 0) {
            return false; // this shop sends no corrections of an order
        }
        if (known == null) {
            known = new Order();
            orders.put(event.orderId, known);
        }
        known.flags |= PLACED;
        known.at = event.at;
        known.total = event.total;
        int n = event.brands.size();
        known.brands = new int[n];
        known.categories = new int[n];
        for (int i = 0; i < n; i++) {
            known.brands[i] = brands.index(event.brands.get(i));
            known.categories[i] = categories.index(event.categories.get(i));
        }
        count(event.orderId, known);
        return true;
    }

    private void count(String id, Order order) {
        sales++;
        spend += order.total;
        for (int i = 0; i < order.brands.length; i++) {
            brands.add(order.brands[i], order.at, id, i);
            categories.add(order.categories[i], order.at, id, i);
        }
    }

    static Serde<Customer> serde() {
        return Serdes.serdeFrom((topic, customer) -> customer == null ? null : customer.toBytes(),
            (topic, data) -> data == null ? null : fromBytes(data));
    }

    private byte[] toBytes() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(64 + 48 * orders.size());
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeLong(applied);
            out.writeInt(sequence);
            out.writeUTF(segment == null ? "" : segment);
            writeLabels(out, brands);
            writeLabels(out, categories);
            out.writeInt(orders.size());
            for (Map.Entry<String, Order> entry : orders.entrySet()) {
                Order order = entry.getValue();
                out.writeUTF(entry.getKey());
                out.writeByte(order.flags);
                out.writeLong(order.at);
                out.writeLong(order.total);
                out.writeShort(order.brands.length);
                for (int i = 0; i < order.brands.length; i++) {
                    out.writeShort(order.brands[i]);
                    out.writeShort(order.categories[i]);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private static Customer fromBytes(byte[] data) {
        Customer customer = new Customer();
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(data))) {
            customer.applied = in.readLong();
            customer.sequence = in.readInt();
            String segment = in.readUTF();
            customer.segment = segment.isEmpty() ? null : segment;
            readLabels(in, customer.brands);
            readLabels(in, customer.categories);
            int n = in.readInt();
            for (int k = 0; k < n; k++) {
                String id = in.readUTF();
                Order order = new Order();
                order.flags = in.readByte();
                order.at = in.readLong();
                order.total = in.readLong();
                int lines = in.readShort();
                order.brands = new int[lines];
                order.categories = new int[lines];
                for (int i = 0; i < lines; i++) {
                    order.brands[i] = in.readShort();
                    order.categories[i] = in.readShort();
                }
                customer.orders.put(id, order);
                if ((order.flags & PLACED) != 0) {
                    customer.count(id, order);
                }
                if ((order.flags & RETURNED) != 0) {
                    customer.returns++;
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return customer;
    }

    private static void writeLabels(DataOutputStream out, Tally tally) throws IOException {
        out.writeShort(tally.labels.size());
        for (String label : tally.labels) {
            out.writeBoolean(label != null);
            if (label != null) {
                out.writeUTF(label);
            }
        }
    }

    private static void readLabels(DataInputStream in, Tally tally) throws IOException {
        int n = in.readShort();
        for (int i = 0; i < n; i++) {
            tally.labels.add(in.readBoolean() ? in.readUTF() : null);
        }
        tally.reserve();
    }
}
