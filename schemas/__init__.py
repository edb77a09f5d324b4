"""What every part of Segstream must agree on: events, profiles, features, the model, the registry and the topics."""
