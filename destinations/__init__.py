"""Changes of segment and drift alerts, delivered to other people's HTTP addresses."""
