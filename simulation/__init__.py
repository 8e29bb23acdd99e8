"""The whole gateway in one thread under virtual time, and an oracle that shares no code with it."""
