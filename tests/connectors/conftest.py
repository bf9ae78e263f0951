from tests.servers import broker, machine, mosquitto

__all__ = ["broker", "machine", "mosquitto"]
