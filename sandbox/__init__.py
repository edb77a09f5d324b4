"""A whole shop on a laptop: real Kafka, real Redis, a DuckDB warehouse and invented customers."""
