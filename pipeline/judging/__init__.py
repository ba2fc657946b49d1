"""How good an ensemble is: scores, maps and diagnostics, in sums that merge, and how sure each difference is."""

VERSION = "2"
"""Rises when a scorecard of the same members comes to say more, or something else."""
