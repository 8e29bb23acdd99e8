"""The use cases: load, decide, append. Knows the domain and the ports, and no library."""
