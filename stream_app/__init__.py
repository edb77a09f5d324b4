"""From events to segments: the Faust worker."""
