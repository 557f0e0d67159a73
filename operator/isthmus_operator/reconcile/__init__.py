"""Observe, render, plan, apply, probe, tell: the one place that knows the order.

- `accept`, `observe`: pure: whether a link makes sense; what the children show.
- `vault`, `places`, `ends`: Secrets beside the resources; Kubernetes clusters; what links need.
- `cluster`, `link`, `deletion`: one pass over a resource, and its end.
- `loop`: a pass whenever there is a reason, for as long as the resource is there.
"""

from isthmus_operator.reconcile.loop import Reconciler

__all__ = ["Reconciler"]
