"""Whether the customers still look like those the model was trained on: blocks of events, detectors over them, alerts."""
