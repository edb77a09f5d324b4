"""The measurements: the product beside other engines on the same job, judged by an oracle. Run by `make bench`."""
