"""Faults inflicted on workers and broker under load, each run compared with a plain computation: `make faults`."""
