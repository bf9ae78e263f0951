from tests.certificates import certificates
from tests.servers import broker, machine, mosquitto

__all__ = ["broker", "certificates", "machine", "mosquitto"]
