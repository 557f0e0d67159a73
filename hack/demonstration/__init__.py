"""What `hack/demo` runs once the environment is there: two linked clusters, shown at work.

- `ports`: which ports, and who has them
- `processes`: child processes that never outlive this one
- `clusters`: a broker cluster: its configuration, its process, what it tells
- `clients`: mosquitto's publisher and subscriber
- `reading`: what the clusters tell of the link, as values (pure)
- `story`: what is shown, step by step; a step that is not seen fails
- `view`: how it looks (pure)
- `keyboard`, `live`: the live view and its keys
- `still`: a picture of it for the README
- `kubernetes`, `crossing`: the same on two Kubernetes clusters; a message from one to the other
"""
