"""The thin edge: listeners, streams, outgoing buffers, deadlines."""
