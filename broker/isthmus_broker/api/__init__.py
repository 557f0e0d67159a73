"""The admin HTTP API: health, metrics, links."""
