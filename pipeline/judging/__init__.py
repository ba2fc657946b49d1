"""How good an ensemble is: scores, maps and diagnostics, in sums that merge, and how sure each difference is."""
