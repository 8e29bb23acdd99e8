"""The rules of the gateway: plain values, decisions and their facts. No I/O, no clock, no ids."""
