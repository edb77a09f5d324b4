"""The demo: a whole shop, live, on this machine."""
