"""The subscription to the tags of one server: whole publish responses, gaps fetched again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_session import UaSession
from asyncua.common.subscription import Subscription
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import BadMessageNotAvailable

from connectors.opcua.items import Item
from connectors.opcua.reading import chunks
from twin.configuration.models import OpcUaConnector

_KEEP_ALIVE: Final = 2.0
LIFETIME: Final = 120.0
"""Seconds for which a server keeps the subscription of a client that is away."""


class SubscriptionLostError(ConnectionError):
    """The server no longer knows the subscription: start over, all may have changed."""


class LineSubscription(Subscription):
    """Hands over every publish response as a whole instead of an event per item.

    One without values says that the subscription lives.
    """

    def __init__(
        self,
        session: UaSession,
        parameters: ua.CreateSubscriptionParameters,
        deliver: Callable[[list[ua.MonitoredItemNotification]], None],
    ) -> None:
        super().__init__(session, parameters, None, queue_maxsize=1)
        self._hand_over = deliver
        self.forgotten = asyncio.Event()
        self.restored = asyncio.Event()
        self._returning = False

    async def publish_callback(self, publish_result: ua.PublishResult) -> None:
        self.last_publish_at = time.monotonic()
        if self._returning:
            self._returning = False
            self.restored.set()
        message = publish_result.NotificationMessage
        if not message.NotificationData:
            self._hand_over([])
            return
        self.last_sequence_number = int(message.SequenceNumber)
        for notification in message.NotificationData:
            if isinstance(notification, ua.DataChangeNotification):
                self._hand_over(notification.MonitoredItems)
            elif isinstance(notification, ua.StatusChangeNotification):
                self.forgotten.set()

    async def monitor(
        self, requests: Sequence[ua.MonitoredItemCreateRequest]
    ) -> list[ua.MonitoredItemCreateResult]:
        """Have items monitored; what the server makes of each.

        The inherited one does not say how long a queue the server grants.
        """
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = self.subscription_id
        parameters.ItemsToCreate = list(requests)
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        return await self.server.create_monitored_items(parameters)

    async def restore(self) -> None:
        self._returning = False
        await super().restore()
        # until the server publishes again, its queues may overflow: that too is in its history
        self._returning = not self.forgotten.is_set()

    async def _republish_gaps(self, available: list[int]) -> bool:
        """Fetch what was sent into the broken connection.

        The inherited one asks for ever where a server answers with an empty message instead of
        BadMessageNotAvailable, as asyncua's own server does.
        """
        if not isinstance(self.server, UaSession) or self.subscription_id is None:
            return True
        number = (self.last_sequence_number or 0) + 1
        last = max(available, default=0)
        while True:
            try:
                message = await self.server.republish(self.subscription_id, number)
            except BadMessageNotAvailable:
                message = None
            if message is not None and message.NotificationData:
                await self.publish_callback(
                    ua.PublishResult(self.subscription_id, NotificationMessage=message)
                )
            elif number >= last:
                return True
            number += 1

    async def recreate(self) -> None:
        self._deleted = True
        self.forgotten.set()


async def subscribe(
    client: Client,
    connector: OpcUaConnector,
    items: Sequence[Item],
    nodes: Sequence[ua.NodeId],
    deliver: Callable[[list[ua.MonitoredItemNotification]], None],
) -> tuple[LineSubscription, list[str], list[str]]:
    """Subscribe to the nodes of the items; what is delivered has their positions as handles.

    Returns:
        The subscription, a sentence for every item that the server refuses to monitor, and what
        else is to be said.
    """
    interval = connector.publishing_interval
    parameters = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=interval * 1_000,
        RequestedLifetimeCount=max(30, round(LIFETIME / interval)),
        RequestedMaxKeepAliveCount=max(1, round(_KEEP_ALIVE / interval)),
        MaxNotificationsPerPublish=10_000,
        PublishingEnabled=True,
        Priority=0,
    )
    subscription = LineSubscription(client.uaclient.session, parameters, deliver)
    revised = await subscription.init()
    parameters.RequestedPublishingInterval = revised.RevisedPublishingInterval
    parameters.RequestedMaxKeepAliveCount = revised.RevisedMaxKeepAliveCount
    client._subscriptions.append(subscription)
    requests = [
        _request(connector, item, position, node)
        for position, (item, node) in enumerate(zip(items, nodes, strict=True))
    ]
    problems = []
    shorter = []
    for part in chunks(requests):
        for request, result in zip(part, await subscription.monitor(part), strict=True):
            if not result.StatusCode.is_good():
                item = items[request.RequestedParameters.ClientHandle]
                problems.append(
                    f"{item.tag.name}: the server refuses to monitor it: {result.StatusCode.name}"
                )
            elif result.RevisedQueueSize < connector.queue_size:
                shorter.append(int(result.RevisedQueueSize))
    remarks = []
    if shorter:
        remarks.append(
            f"the server keeps only {min(shorter)} values of {len(shorter)} tags, not the "
            f"{connector.queue_size} of `queue_size`: a shorter outage loses values"
        )
    return subscription, problems, remarks


def _request(
    connector: OpcUaConnector, item: Item, position: int, node: ua.NodeId
) -> ua.MonitoredItemCreateRequest:
    deadband = item.address.deadband
    change = ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValueTimestamp
        if deadband == 0
        else ua.DataChangeTrigger.StatusValue,
        DeadbandType=ua.DeadbandType.None_ if deadband == 0 else ua.DeadbandType.Absolute,
        DeadbandValue=deadband,
    )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=position,
            SamplingInterval=connector.sampling_interval * 1_000,
            Filter=change,
            QueueSize=connector.queue_size,
            DiscardOldest=True,
        ),
    )
