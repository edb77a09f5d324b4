"""The engines side by side: each is a program of its own, started by the harness with its settings in the environment."""
