"""The composition root: the one place that knows core, connectors and surrogates.

Each module loads what it puts together, and no more: a command need not wait for the rest.
"""
