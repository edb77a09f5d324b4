package segstream.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;

/** The model of the artifact's JSON: one linear map of five features, then the nearest centroid, with hysteresis. */
final class Model {
    static final String[] FEATURES = {"orders", "gross_spend", "average_order_value", "categories", "return_rate"};

    final String id;
    final String spec;
    final String[] segments;
    final String[] names;
    private final double[] bias;
    private final double[][] weights;
    private final boolean[] log1p;
    private final double[][] centroids;
    private final double[][] gaps;
    private final double hysteresis;

    /** What a customer's features decide. */
    record Assignment(int segment, double margin) { }

    Model(File artifact, String id) throws IOException {
        JsonNode root = new ObjectMapper().readTree(artifact);
        this.id = id;
        spec = root.get("spec").get("name").asText();
        bias = doubles(root.get("bias"));
        JsonNode terms = root.get("numbers");
        weights = new double[terms.size()][];
        log1p = new boolean[terms.size()];
        for (int i = 0; i < terms.size(); i++) {
            if (!FEATURES[i].equals(terms.get(i).get("feature").asText())) {
                throw new IOException("the model's features are not " + String.join(", ", FEATURES));
            }
            weights[i] = doubles(terms.get(i).get("weights"));
            log1p[i] = "log1p".equals(terms.get(i).get("transform").asText());
        }
        int k = root.get("centroids").size();
        centroids = new double[k][];
        segments = new String[k];
        names = new String[k];
        for (int i = 0; i < k; i++) {
            centroids[i] = doubles(root.get("centroids").get(i));
            segments[i] = root.get("segments").get(i).get("id").asText();
            names[i] = root.get("segments").get(i).get("name").asText();
        }
        gaps = new double[k][k];
        for (int i = 0; i < k; i++) {
            for (int j = 0; j < k; j++) {
                gaps[i][j] = 2.0 * Math.sqrt(squared(centroids[i], centroids[j]));
            }
        }
        hysteresis = root.get("hysteresis").asDouble();
    }

    Assignment assign(double[] features, String current) {
        double[] z = bias.clone();
        for (int j = 0; j < weights.length; j++) {
            double x = log1p[j] ? (features[j] > 0.0 ? Math.log1p(features[j]) : 0.0) : features[j];
            for (int d = 0; d < z.length; d++) {
                z[d] += weights[j][d] * x;
            }
        }
        double[] squares = new double[centroids.length];
        int nearest = 0;
        for (int i = 0; i < centroids.length; i++) {
            squares[i] = squared(z, centroids[i]);
            if (squares[i] < squares[nearest]) {
                nearest = i;
            }
        }
        double margin = Double.POSITIVE_INFINITY;
        for (int i = 0; i < squares.length; i++) {
            if (i != nearest) {
                margin = Math.min(margin, (squares[i] - squares[nearest]) / gaps[nearest][i]);
            }
        }
        int here = current == null ? -1 : index(current);
        if (hysteresis > 0.0 && here >= 0 && here != nearest && (squares[here] - squares[nearest]) / gaps[here][nearest] <= hysteresis) {
            return new Assignment(here, margin);
        }
        return new Assignment(nearest, margin);
    }

    int index(String segment) {
        for (int i = 0; i < segments.length; i++) {
            if (segments[i].equals(segment)) {
                return i;
            }
        }
        return -1;
    }

    private static double squared(double[] a, double[] b) {
        double total = 0.0;
        for (int d = 0; d < a.length; d++) {
            double difference = a[d] - b[d];
            total += difference * difference;
        }
        return total;
    }

    private static double[] doubles(JsonNode array) {
        double[] values = new double[array.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = array.get(i).asDouble();
        }
        return values;
    }
}
