"""How data get into the archive: what is done to them on the way, the gates they pass, and where they came from."""
