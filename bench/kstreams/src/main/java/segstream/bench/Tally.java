package segstream.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** How often each label was chosen; the top is the most frequent, a tie going to the one chosen last (time, order id, line). */
final class Tally {
    final List<String> labels = new ArrayList<>(8);
    private int[] counts = new int[8];
    private long[] times = new long[8];
    private String[] orders = new String[8];
    private int[] lines = new int[8];
    private int top = -1;

    int index(String label) {
        int found = labels.indexOf(label);
        if (found < 0) {
            found = labels.size();
            labels.add(label);
            reserve();
        }
        return found;
    }

    /** Room for every label. */
    void reserve() {
        if (labels.size() > counts.length) {
            int size = 2 * labels.size();
            counts = Arrays.copyOf(counts, size);
            times = Arrays.copyOf(times, size);
            orders = Arrays.copyOf(orders, size);
            lines = Arrays.copyOf(lines, size);
        }
    }

    void add(int label, long time, String order, int line) {
        counts[label]++;
        if (orders[label] == null || after(time, order, line, label)) {
            times[label] = time;
            orders[label] = order;
            lines[label] = line;
        }
        if (top < 0 || counts[label] > counts[top]
            || (counts[label] == counts[top] && label != top && after(times[label], orders[label], lines[label], top))) {
            top = label;
        }
    }

    private boolean after(long time, String order, int line, int other) {
        if (time != times[other]) {
            return time > times[other];
        }
        int byOrder = order.compareTo(orders[other]);
        return byOrder != 0 ? byOrder > 0 : line > lines[other];
    }

    int distinct() {
        return labels.size() - (labels.contains(null) ? 1 : 0);
    }

    String top() {
        return top < 0 ? null : labels.get(top);
    }
}
