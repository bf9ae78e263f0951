"""MQTT 5: JSON messages as samples, recommendations published."""

from connectors.mqtt.messages import nanoseconds
from connectors.mqtt.source import MqttSource

__all__ = ["MqttSource", "nanoseconds"]
