"""The loop back to the trainer: when to train, what a candidate must show on live customers, and when to take it back."""
