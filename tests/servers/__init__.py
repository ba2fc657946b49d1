"""Real servers on the loopback, and files in the layouts of the originals for them to serve."""
