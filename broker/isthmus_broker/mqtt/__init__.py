"""MQTT 3.1.1 and 5.0, sans-IO: bytes in, bytes and decisions out.

Nothing here knows a socket, an event loop or a clock; where a rule depends on time, `now` is an
argument (seconds, monotonic). Topics and filters are `bytes` (UTF-8, checked when they arrive).
"""
