"""Fault campaigns against the chain ingester: a real chain, providers that misbehave, a judge.

Development only, like bench/ and tests/: nothing of the product imports this package.
"""
