"""Checks of the webs and of the slurry batches."""

from __future__ import annotations

from collections.abc import Mapping

from twin.configuration.findings import Findings
from twin.configuration.models import WebConfiguration


def check_webs(found: Findings) -> None:
    """Stations, encoders, and how rolls pass from one web to another."""
    line = found.configuration
    owners: dict[str, str] = {}
    for name, web in line.webs.items():
        path = ("webs", name)
        _check_encoder(found, path, web)
        for station, position in web.stations.items():
            owner = owners.setdefault(station, name)
            if owner != name:
                found.add(
                    (*path, "stations", station),
                    f"web {owner!r} has a station {station!r} too",
                    f"give it a name of its own, e.g. {name}_{station}",
                )
            if isinstance(position, tuple):
                found.ascending((*path, "stations", station), "entry and exit", position)
        _check_counter(found, (*path, "roll"), web.roll)
        _check_counter(found, (*path, "splice"), web.splice)
        cut = found.tag((*path, "cut"), web.cut)
        if cut is not None:
            found.dimension((*path, "cut"), f"tag {web.cut!r}", cut.unit, "m")
        for key in ("winds_at", "unwinds_at", "stretches_at", "splices_at"):
            station_name = getattr(web, key)
            if station_name is not None:
                found.known((*path, key), f"station of web {name!r}", station_name, web.stations)
        _check_together(found, path, web)
        _check_unwinding(found, name, web)


def check_batches(found: Findings) -> None:
    """The tags of slurry batches, and where they meet a web."""
    line = found.configuration
    for name, batches in line.batches.items():
        path = ("batches", name)
        if name in line.webs:
            found.add(path, f"{name!r} is also the name of a web", "choose another name")
        _check_counter(found, (*path, "number"), batches.number)
        _check_counter(found, (*path, "drawn"), batches.drawn)
        flow = found.tag((*path, "flow"), batches.flow)
        if flow is not None:
            found.dimension((*path, "flow"), f"tag {batches.flow!r}", flow.unit, "mL/min")
        if found.known((*path, "web"), "web", batches.web, line.webs):
            stations = line.webs[batches.web].stations
            kind = f"station of web {batches.web!r}"
            found.known((*path, "head"), kind, batches.head, stations)


def upstream_webs(webs: Mapping[str, WebConfiguration], name: str) -> list[str]:
    """The web and those whose rolls it unwinds, nearest first; ends where a cycle closes."""
    path: list[str] = []
    current: str | None = name
    while current in webs and current is not None and current not in path:
        path.append(current)
        current = webs[current].unwinds
    return path


def _check_encoder(found: Findings, path: tuple[str, ...], web: WebConfiguration) -> None:
    if web.encoder is None and web.speed is None:
        found.add(path, "the web has neither an encoder nor a speed", "add 'encoder: TAG'")
    elif web.encoder is not None and web.speed is not None:
        found.add(
            (*path, "speed"),
            "the web has both an encoder and a speed",
            "keep the encoder and delete this",
        )
    encoder = found.tag((*path, "encoder"), web.encoder)
    if encoder is not None:
        found.dimension((*path, "encoder"), f"tag {web.encoder!r}", encoder.unit, "m")
    speed = found.tag((*path, "speed"), web.speed)
    if speed is not None:
        found.dimension((*path, "speed"), f"tag {web.speed!r}", speed.unit, "m/min")
    if web.interval >= found.configuration.stale_after:
        found.add(
            (*path, "interval"),
            "between two reports of the encoder all data would be stale",
            f"write less than stale_after, {found.configuration.stale_after:g} s",
        )


def _check_counter(found: Findings, path: tuple[str, ...], name: str | None) -> None:
    tag = found.tag(path, name)
    if tag is not None:
        found.dimension(path, f"tag {name!r}", tag.unit, "dimensionless")


def _check_together(found: Findings, path: tuple[str, ...], web: WebConfiguration) -> None:
    for key, other in (
        ("unwinds", "unwinds_at"),
        ("unwinds_at", "unwinds"),
        ("splice", "splices_at"),
        ("splices_at", "splice"),
        ("cut", "unwinds"),
    ):
        if getattr(web, key) is not None and getattr(web, other) is None:
            found.add(
                (*path, key),
                f"{key!r} is given without {other!r}",
                f"add '{other}: ...', or delete {key!r}",
            )
    if web.stretch > 0 and web.stretches_at is None:
        found.add(
            (*path, "stretch"),
            "it is not said where the foil stretches",
            "add 'stretches_at: STATION'",
        )


def _check_unwinding(found: Findings, name: str, web: WebConfiguration) -> None:
    if web.unwinds is None:
        return
    webs = found.configuration.webs
    path = ("webs", name, "unwinds")
    if not found.known(path, "web", web.unwinds, webs):
        return
    if name in upstream_webs(webs, web.unwinds):
        found.add(
            path,
            f"the rolls of web {web.unwinds!r} would come from {name!r} itself",
            "name the web on which the rolls were wound before",
        )
    elif webs[web.unwinds].winds_at is None:
        found.add(
            path,
            f"web {web.unwinds!r} winds no rolls",
            f"add 'winds_at: STATION' to web {web.unwinds!r}, or name another web",
        )
