"""Whatever arrives from outside, broken in every way: it gives a value or the error that its reader names, and nothing else."""
