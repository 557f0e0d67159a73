"""What `hack/bench` runs: Isthmus, mosquitto and nats-server under the same loads, in one run.

- `mqtt`, `clients`: MQTT 3.1.1 as precomputed bytes over plain sockets
- `machine`, `processes`: cores, limits, what a process has cost so far
- `brokers`: the three brokers, alone and as linked pairs
- `throughput`, `latency`, `idle`, `faults`, `routes`: one kind of measurement each
- `results`, `targets`, `report`, `plot`, `document`: figures, what they should be, how they are
  told
- `suites`: which measurements a run consists of

Nothing here imports the broker: a mistake in its codec must not hide in the load.
"""
