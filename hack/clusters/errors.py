"""What can go wrong with clusters, by whose turn it is: yours, the machine's, or nobody's."""

from __future__ import annotations


class ClustersError(Exception):
    """Base of all; its text is for people and says what to do. `status` is the exit status."""

    status = 1


class Refused(ClustersError):
    """What was asked for makes no sense as asked; asking differently helps."""

    status = 2


class Missing(ClustersError):
    """The machine lacks something that has to be installed or allowed first."""

    status = 3


class Failed(ClustersError):
    """A part did not come up, or a step did not work; the text names its log."""
