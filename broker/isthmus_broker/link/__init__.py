"""Cluster linking: routes and messages exchanged with other broker clusters."""
