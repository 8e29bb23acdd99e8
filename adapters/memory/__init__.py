"""In-memory twins of the ports, for tests and simulation: same promises, no I/O."""
