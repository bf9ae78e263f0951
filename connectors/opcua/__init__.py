"""OPC UA: one client per server, samples by subscription, setpoints written and read back."""

from connectors.opcua.source import OpcUaSource
from connectors.opcua.values import nanoseconds

__all__ = ["OpcUaSource", "nanoseconds"]
