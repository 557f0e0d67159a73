"""A Kubernetes operator for brokers and the links between their clusters."""

__version__ = "0.1.0"
