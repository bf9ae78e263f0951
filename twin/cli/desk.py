"""What people see of a service: its desk, and the pages and the API that share it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from connectors.recording import MANIFEST, Manifest, Recording, RecordingError
from surrogates.onnx_model import OnnxSurrogate
from twin.api import Server, make_app
from twin.app.line import recorded_surrogates
from twin.app.replay import build_replay
from twin.app.service import RECORDINGS
from twin.configuration.models import ApiConfiguration, LineConfiguration
from twin.desk import Desk, ElsewhereError, UnknownError
from twin.desk.door import Door
from twin.desk.replays import Replays
from twin.desk.views import CardView, ErrorView, RecordingView, moment
from twin.ports import Surrogate
from twin.registry import Registry
from twin.replay import Replay, Screen
from twin.service import Service
from twin.users import Users


def describe(surrogate: Surrogate) -> CardView | None:
    """The card of a model, as people read it."""
    if not isinstance(surrogate, OnnxSurrogate):
        return None
    card = surrogate.card
    units = {each.name: each.unit for each in card.outputs}
    return CardView(
        name=card.name,
        version=card.version,
        kind=card.kind,
        file=str(surrogate.file),
        trained_on="" if card.training is None else card.training.design,
        errors=tuple(
            ErrorView(output=name, unit=units[name], r2=each.r2, mae=each.mae)
            for name, each in card.errors.items()
        ),
        text=card.text(),
    )


class Recordings:
    """Recordings in a folder, for `twin.desk.replays`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> list[RecordingView]:
        """All recordings, newest first."""
        found = []
        for manifest in self._folder.glob(f"*/{MANIFEST}"):
            try:
                said = Manifest.model_validate_json(manifest.read_bytes())
            except (ValidationError, OSError):  # `twin replay` says what is wrong with it
                continue
            found.append(
                RecordingView(
                    name=manifest.parent.name,
                    first=moment(said.first or 0),
                    last=moment(said.last or 0),
                    samples=said.samples,
                    complete=said.complete,
                )
            )
        return sorted(found, key=lambda each: str(each.first), reverse=True)

    def line(self, name: str) -> LineConfiguration:
        """The line of a recording; checks its files.

        Raises:
            UnknownError: there is no such recording.
            ValueError: it is damaged.
        """
        return self._open(name).line

    def play(self, name: str, screen: Screen) -> Replay:
        """A replay of a recording, with the decisions of then.

        Raises:
            UnknownError, ValueError: it cannot be played.
        """
        recording = self._open(name)
        models = recorded_surrogates(recording, recording.line, self._folder)
        return build_replay(recording, models, screen, 1.0, with_decisions=True)

    def _open(self, name: str) -> Recording:
        # a name comes from outside: only one of those that are there is ever opened
        if name not in {each.parent.name for each in self._folder.glob(f"*/{MANIFEST}")}:
            if Path(name).name != name or name in (".", ".."):
                raise ElsewhereError(f"{name} is no name of a recording")
            raise UnknownError(f"there is no recording {name}")
        try:
            return Recording.open(self._folder / name)
        except RecordingError as error:
            raise ValueError(str(error)) from error


def build_desk(service: Service, registry: Registry, folder: Path) -> Desk:
    """The desk of a service, which its screens and its API share; `folder` is that of the store."""
    door = Door(Users(registry.ledger), service.audit)
    replays = Replays(Recordings(folder / RECORDINGS), describe)
    desk = Desk(service, registry.ledger, describe, door, replays, registry)
    service.attend("desk", desk.run)
    return desk


def serve_api(
    service: Service, desk: Desk, config: ApiConfiguration, port: int | None = None
) -> str:
    """Let a service serve its pages and its API while it runs; where it is.

    Args:
        service: not running yet.
        desk: of the service.
        config: where it listens.
        port: instead of the configured one.

    Raises:
        OSError, ValueError: it cannot listen there, or a certificate cannot be used.
    """
    tls = config.tls
    files = None if tls is None else (tls.certificate, tls.key)
    # nicegui takes a second to load, and only a service has pages
    from twin.screen import Screen

    app = make_app(desk, secure=tls is not None)
    Screen(desk).serve(app)
    server = Server(app, config.host, config.port if port is None else port, files)
    service.attend("api", server.run)
    return server.url
