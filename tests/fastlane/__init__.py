"""The conformance suite of the chunk lane: on a real Kafka, each test compared with what was produced."""
