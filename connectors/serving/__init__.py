"""A recording that acts as the line it was made of: over OPC UA and MQTT, as if it were live."""

from connectors.serving.line import LEAD, ServedLine

__all__ = ["LEAD", "ServedLine"]
