"""Every line that touches private parts of Faust: the chunk lane."""
