"""Reads for people and services: who is this customer, and why."""
