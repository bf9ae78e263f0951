"""Metrics: what Prometheus sees of a service. Every service has a registry of its own.

What the service counts anyway is read when it is asked for; only durations are told.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter as Counted
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from twin.alarms import Priority
from twin.configuration.models import Mode
from twin.ingest import NANOSECONDS
from twin.recommendation import FOLLOWS

if TYPE_CHECKING:
    from twin.service import Service

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""Of what `render` gives."""
_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def render(service: Service) -> bytes:
    """The metrics of a service in Prometheus' text format; from the loop's thread only."""
    return generate_latest(service.metrics.registry)


class Metrics:
    """The registry of one service, and the durations that it is told.

    Args:
        service: is asked for its counts at every scrape.
    """

    def __init__(self, service: Service) -> None:
        registry = self.registry = CollectorRegistry()
        self.feed = Histogram(
            "linetwin_feed_seconds",
            "Time that the core took for a batch and what follows from it.",
            buckets=_SHORT,
            registry=registry,
        )
        self.arrival = Histogram(
            "linetwin_arrival_delay_seconds",
            "Line time from the newest sample of a batch to its arrival in the core.",
            buckets=_LONG,
            registry=registry,
        )
        self.write = Histogram(
            "linetwin_write_seconds",
            "Time to write a recommendation's setpoints and to read them back.",
            buckets=_LONG,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "linetwin_loop_lag_seconds",
            "How late the event loop woke up.",
            buckets=_SHORT,
            registry=registry,
        )
        self.checkpoint_pause = Histogram(
            "linetwin_checkpoint_pause_seconds",
            "How long a checkpoint stopped the event loop.",
            buckets=_SHORT,
            registry=registry,
        )
        self.checkpoint_failures = Counter(
            "linetwin_checkpoint_failures", "Checkpoints not written.", registry=registry
        )
        self._checkpoint_time = Gauge(
            "linetwin_checkpoint_timestamp_seconds", "When the last was written.", registry=registry
        )
        self._checkpoint_size = Gauge(
            "linetwin_checkpoint_bytes", "Size of the last.", registry=registry
        )
        ProcessCollector(registry=registry)
        registry.register(_Counts(service))

    def checkpointed(self, size: int) -> None:
        """A checkpoint of `size` bytes was written now."""
        self._checkpoint_time.set_to_current_time()
        self._checkpoint_size.set(size)


class _Counts(Collector):
    """Reads a service's own counts."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing is asked of the service while it is being built."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("linetwin", "Version.", {"version": version("linetwin")})
        yield from self._connectors()
        yield from self._stores()
        yield from self._line()
        yield from self._jobs()
        yield from self._process()

    def _connectors(self) -> Iterator[Metric]:
        connected = _gauge("connector_connected", "1 while connected.", "connector")
        received = _counter("connector_samples", "Samples that arrived.", "connector")
        dropped = _counter(
            "connector_dropped_samples", "Samples lost as a bounded queue was full.", "connector"
        )
        for source in self._service.sources:
            state = source.state
            connected.add_metric([state.name], state.connected)
            received.add_metric([state.name], state.received)
            dropped.add_metric([state.name], state.dropped)
        refused = _counter("refused_samples", "What was lost or could not be used.", "reason")
        for reason, count in self._service.rejected.items():
            refused.add_metric([reason], count)
        ahead = _counter(
            "ahead_samples", "That came before their time, by more than lateness.", "tag"
        )
        for tag, (count, _) in self._service.core.tracker.ahead.items():
            ahead.add_metric([self._service.core.tags[tag].name], count)
        yield from (connected, received, dropped, refused, ahead)

    def _stores(self) -> Iterator[Metric]:
        service, store = self._service, self._service.store
        yield _count("stored_samples", "Samples that the historian took.", store.stored)
        yield _count("lost_samples", "Samples lost before the historian.", store.dropped)
        yield _value("store_waiting_samples", "Samples that wait for the historian.", store.waiting)
        yield _value("store_failing", "1 while the historian refuses.", store.error is not None)
        yield from self._spool()
        beat = service.heartbeat
        delay = max(beat.store_silence, beat.store_delay)
        yield _value("store_delay_seconds", "Time that the store's thread takes to answer.", delay)
        yield _value(
            "ledger_waiting_entries", "Entries that wait for the ledger.", service.entries.waiting
        )
        yield _value(
            "publications_waiting", "Messages that wait for the broker.", service.outbox.waiting
        )

    def _spool(self) -> Iterator[Metric]:
        state = self._service.store.state
        yield _value("spooled_samples", "On disk, and not taken by the historian.", state.spooled)
        yield _value("spool_bytes", "Size of the spool.", state.spool_bytes)
        yield _value("spool_limit_bytes", "Size at which the oldest go.", state.spool_limit)
        yield _value("store_oldest_seconds", "Age of the oldest that waits.", state.oldest)
        failing = state.spool_error is not None
        yield _value("spool_failing", "1 while the spool cannot be written.", failing)
        yield _count("damaged_samples", "Missing from damaged files of the spool.", state.damaged)
        yield _count("torn_writes", "Ends of the spool cut off at a start.", state.torn)
        yield _count("set_aside_samples", "That the historian refuses.", state.refused)

    def _jobs(self) -> Iterator[Metric]:
        runs = _counter("job_runs", "Times that a job was done.", "job")
        failures = _counter("job_failures", "Times that it failed.", "job")
        succeeded = _gauge("job_success_timestamp_seconds", "When it last succeeded.", "job")
        seconds = _gauge("job_seconds", "How long it took last.", "job")
        for name, state in self._service.jobs.states.items():
            runs.add_metric([name], state.runs)
            failures.add_metric([name], state.failures)
            seconds.add_metric([name], state.seconds)
            if state.succeeded is not None:
                succeeded.add_metric([name], state.succeeded)
        yield from (runs, failures, succeeded, seconds)

    def _line(self) -> Iterator[Metric]:
        service = self._service
        core, status, now = service.core, service.status, service.clock.now()
        yield _count("core_samples", "Samples that the core took.", core.received)
        yield _count("web_metres", "Web that left the first step.", status.metres)
        heard = int(core.latest_time.max(initial=0))
        if heard:
            age = (now - heard) / NANOSECONDS
            yield _value("newest_sample_age_seconds", "Line time since the newest sample.", age)
            behind = (now - core.tracker.frontier) / NANOSECONDS
            yield _value("frontier_age_seconds", "Line time that is not certain yet.", behind)
        modes = _gauge("step_mode", "1 for the mode in effect.", "step", "mode")
        for step in core.line.steps:
            for mode in get_args(Mode):
                modes.add_metric([step, mode], core.trust.mode(step) == mode)
        reached = _counter("recommendations", "That reached a state.", "state")
        for state in FOLLOWS:
            reached.add_metric([state], status.states[state])
        yield from (modes, reached)
        alarms = _gauge("open_alarms", "That are not cleared.", "priority")
        standing = Counted(alarm.priority for alarm in core.alarms.open())
        for priority in get_args(Priority):
            alarms.add_metric([priority], standing[priority])
        yield alarms
        yield _value("open_recommendations", "That wait for people or machines.", len(core.open))
        yield from self._accuracy()

    def _accuracy(self) -> Iterator[Metric]:
        labels = ("parameter", "unit")
        error = _gauge("mean_absolute_error", "Measured against predicted.", *labels)
        bias = _gauge("mean_residual", "Measured minus predicted.", *labels)
        compared = _counter("comparisons", "Segments measured and predicted.", *labels)
        predicted = _gauge("predicted", "Of the material that left the step last.", *labels)
        measured = _gauge("measured", "Of the material that passed the gauge last.", *labels)
        for name, parameter in self._service.status.parameters.items():
            values = [name, parameter.unit]
            compared.add_metric(values, parameter.count)
            for family, value in (
                (error, parameter.mean_absolute_error),
                (bias, parameter.bias),
                (predicted, parameter.predicted),
                (measured, parameter.measured),
            ):
                if math.isfinite(value):
                    family.add_metric(values, value)
        yield from (error, bias, compared, predicted, measured)

    def _process(self) -> Iterator[Metric]:
        yield _value("threads", "Threads of the process.", threading.active_count())
        yield _value("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"linetwin_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"linetwin_{name}", text, labels=labels)


def _value(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"linetwin_{name}", text, value)


def _count(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"linetwin_{name}", text, value)
