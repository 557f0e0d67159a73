"""An MQTT 3.1.1 and 5.0 broker that links itself with broker clusters elsewhere."""

__version__ = "0.1.0"
