"""From the warehouse to a signed model: read, fit, choose, name, report, publish."""
