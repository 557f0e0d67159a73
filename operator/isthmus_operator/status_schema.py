"""What the status of the two resources holds, as models: only for the CRDs' schemas.

What is not named here, the API server drops without a word. How a status comes about is left to
`status`, whose tests read what it makes by these models.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from isthmus_operator.model import Model


class Condition(Model):
    """One aspect of the state, in the shape that all of Kubernetes uses."""

    type: str = Field(max_length=316, description="Which aspect.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(
        None, ge=0, description="Generation of the resource that it was judged by."
    )
    last_transition_time: datetime = Field(description="When its status last changed.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="Why, in one word of a fixed list.",
    )
    message: str = Field(
        max_length=32768, description="What was expected, what came, and what to do."
    )


class Endpoints(Model):
    """Where it is reached."""

    mqtt: str | None = Field(None, description="host:port for clients.")
    link: str | None = Field(None, description="host:port for other clusters.")


class BrokerClusterStatus(Model):
    """What was last seen of it."""

    observed_generation: int | None = Field(
        None, ge=0, description="Generation that this status is about."
    )
    replicas: int | None = Field(None, ge=0, description="Brokers that are wanted.")
    ready_replicas: int | None = Field(None, ge=0, description="Brokers that are ready.")
    version: str | None = Field(None, description="Version of the brokers.")
    endpoints: Endpoints | None = Field(None, description="Where it is reached.")
    config_hash: str | None = Field(
        None, description="SHA-256 of the configuration file that the brokers are to run."
    )
    conditions: list[Condition] | None = Field(
        None, description="Accepted, Available, Progressing, Ready."
    )


class NodeStatus(Model):
    """The link as one broker sees it."""

    name: str = Field(description="Name of the broker's pod.")
    state: str = Field(description="What the broker says of the link.")
    since: datetime | None = Field(None, description="Since when.")
    last_error: str | None = Field(None, description="What last went wrong.")


class EndStatus(Model):
    """One end."""

    cluster: str = Field(description="Name of the cluster.")
    server: str | None = Field(None, description="Address by which the other end reaches it.")
    nodes: list[NodeStatus] | None = Field(None, description="Its brokers; none if external.")


class DirectionStatus(Model):
    """What flows from one end to the other."""

    from_: str = Field(alias="from", description="The cluster that forwards.")
    to: str = Field(description="The cluster that receives.")
    topics: list[str] | None = Field(None, description="What it receives.")
    state: str = Field(description="running, or what is in its way.")
    routes: int | None = Field(None, ge=0, description="Topics that the receiver has announced.")
    since: datetime | None = Field(None, description="Since when it is in this state.")
    last_error: str | None = Field(None, description="What last went wrong.")


class LinkTlsStatus(Model):
    """The certificates of the link."""

    not_after: datetime | None = Field(None, description="When the first of them expires.")
    revision: str | None = Field(None, description="Changes when they are renewed.")


class ClusterLinkStatus(Model):
    """What was last seen of it."""

    observed_generation: int | None = Field(
        None, ge=0, description="Generation that this status is about."
    )
    clusters: str | None = Field(None, description="The two ends in one line: a ⇄ b.")
    forward: str | None = Field(
        None, description="State of the direction from the first end to the second."
    )
    backward: str | None = Field(
        None, description="State of the direction from the second end to the first."
    )
    conditions: list[Condition] | None = Field(
        None, description="Accepted, Programmed, Connected, Synced, Ready."
    )
    ends: list[EndStatus] | None = Field(None, max_length=2, description="The two ends.")
    directions: list[DirectionStatus] | None = Field(
        None, max_length=2, description="The two directions."
    )
    tls: LinkTlsStatus | None = Field(None, description="The certificates of the link.")
