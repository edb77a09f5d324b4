"""The command line of Segstream: composition only."""
