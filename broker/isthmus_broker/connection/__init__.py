"""The server side of one connection, sans-IO: what a client sends, and what it is answered.

`connection` is the state machine and its dispatch; `handshake` what CONNECT asks for and CONNACK
grants; `publishing` and `subscribing` the two halves of what follows; `limiter` its rates.
"""
