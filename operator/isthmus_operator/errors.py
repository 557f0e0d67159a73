"""The error tree: every error says whose fault it was.

- `ResourceError`: the user's. A resource, or a Secret that it names, can't be used as it is;
  carries the reason of the condition that tells it.
- `ClusterError`: a Kubernetes API server's, or the way to it.
  - `Unreachable`: no answer in time. Tried again.
  - `Unauthorized`: it does not know us, or has no rights for us; needs somebody's hand.
  - `Refused`: it answered that the object can't be so (schema, admission, quota).
    - `Conflict`: somebody else has changed it since it was read, or it exists already.
  - `Terminating`: the namespace is going away, and takes what we would make with it.
- `BrokerError`: a broker's admin API did not answer, or not as agreed.

What is left to others: how an error becomes a condition (`status`) or a log line (`reconcile`).
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of every error that the operator raises on purpose."""


class ResourceError(OperatorError):
    """Something that a user wrote can't be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One of `status.Reason`."""
        self.message = message
        """What was expected, what came, what to do."""


class ClusterError(OperatorError):
    """A Kubernetes API server did not do what was asked."""


class Unreachable(ClusterError):
    """No answer in time, or no connection."""


class Unauthorized(ClusterError):
    """Not authenticated (401), or no rights (403)."""


class Refused(ClusterError):
    """The object can't be so: 400, 409, 413, 422."""


class Conflict(Refused):
    """It was changed since it was read, or exists already: 409."""


class Terminating(ClusterError):
    """The namespace is being terminated."""


class BrokerError(OperatorError):
    """A broker's admin API did not answer, or not as agreed."""
