"""A line behind locks: the real programs, wrong and right keys, and no secret left anywhere."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from connectors import authority
from connectors.authority import Authority
from connectors.certificates import read_identity
from connectors.recording import MANIFEST, Recording, RecordingError
from surrogates.card import Card
from tests.certificates import PASSWORD, WRONG, Certificates, certificates
from tests.connectors.test_recording import rows, written
from tests.servers import Broker
from tests.system.test_commands import all_ports, configuration
from tests.system.twin_program import COMMAND, environment, twin, twin_many
from twin.ledger import Ledger

__all__ = ["certificates"]

KEY_PASSWORD = "sesame-open-said-the-calender"
MACHINES = ("mixer", "coater", "calender")


@pytest.fixture
def plant(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates of all machines; the twin's key has a password."""
    monkeypatch.setattr(authority, "BITS", 2048)
    own = Authority(certificates.plant)
    for name in MACHINES:
        own.issue(name, f"urn:test:{name}", ["127.0.0.1"], "server", 30)
    own.issue("virtual-line", "urn:test:virtual-line", ["127.0.0.1"], "client", 30)
    key = read_identity(own.folder / "twin.pem", own.folder / "twin.key.pem", None).key
    (own.folder / "twin.locked.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(KEY_PASSWORD.encode()),
        )
    )
    return own.folder


@pytest.fixture
def locked(tmp_path: Path, plant: Path) -> Iterator[Broker]:
    """A broker over TLS: the line comes with its certificate, the twin with a password too."""
    passwords = tmp_path / "passwords"
    for name, password, more in (("twin", PASSWORD, ["-c"]), ("line", PASSWORD, [])):
        command = ["mosquitto_passwd", "-b", *more, str(passwords), name, password]
        subprocess.run(command, check=True, capture_output=True)
    broker = Broker(
        tmp_path,
        f"certfile {plant / 'machine.pem'}\nkeyfile {plant / 'machine.key.pem'}\n"
        f"cafile {plant / 'ca.pem'}\nrequire_certificate true\nallow_anonymous true\n"
        f"password_file {passwords}\n",
    )
    broker.start()
    yield broker
    broker.stop()


class Program:
    """`twin` in a process of its own, with everything that it says."""

    def __init__(self, *arguments: object, **changes: str) -> None:
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.said += lines

    def says(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.said)

    def ends(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self._reader.join()
        return code


@contextmanager
def running(*arguments: object, **changes: str) -> Iterator[Program]:
    program = Program(*arguments, **changes)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()


def secured_configuration(
    folder: Path, plant: Path, trusted: Path, ports: dict[str, int], kept: Path
) -> Path:
    folder.mkdir()
    file = configuration(folder, ports)
    own = f"certificate: {plant / 'twin.pem'}, key: {plant / 'twin.locked.pem'}"
    security = f"{{{own}, key_password: {{env: TWIN_KEY}}, trusts: [{trusted}]}}"
    user = f"user: {{name: twin, password: {{file: {kept}}}}}"
    text = file.read_text().replace("security: none", f"security: {security}")
    text = text.replace("publish: linetwin", f"publish: linetwin, security: {security}, {user}")
    file.write_text(text)
    return file


def audited(folder: Path) -> list[tuple[str, str]]:
    """What was audited, with its connector."""
    if not (folder / "ledger.sqlite").exists():
        return []
    with Ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        return sorted((row["what"], row["details"]["connector"]) for row in ledger.audited(None))


def wait_for(condition: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_secured_line_is_followed_and_no_secret_is_left_anywhere(
    tmp_path: Path, plant: Path, certificates: Certificates, locked: Broker
) -> None:
    ports = all_ports(locked.port)
    kept = tmp_path / "password"
    kept.write_text(WRONG)
    line = secured_configuration(tmp_path / "line", plant, plant / "ca.der", ports, kept)
    stranger = secured_configuration(
        tmp_path / "stranger", plant, certificates.stranger / "ca.der", ports, kept
    )
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    data, misled = tmp_path / "data", tmp_path / "misled"
    with running("simulate", *options, "--secure", plant) as simulated:
        wait_for(lambda: simulated.says('"ready": true'))
        with running("run", stranger, "--data", misled, TWIN_KEY=KEY_PASSWORD) as following:
            refused = [("peer refused", name) for name in sorted(("gauges", *MACHINES))]
            wait_for(lambda: audited(misled) == refused)
            assert following.ends(signal.SIGTERM) == 0
            said = following.said
        recorded = ("--record", tmp_path / "recorded")
        with running("run", line, "--data", data, *recorded, TWIN_KEY=KEY_PASSWORD) as following:
            wait_for(lambda: audited(data) == [("refused by peer", "gauges")])
            kept.write_text(PASSWORD)
            for name in ("gauges", *MACHINES):
                wait_for(lambda name=name: following.says(" connected ", f"connector={name}"))
            assert following.ends(signal.SIGTERM) == 0
            said += following.said
        assert simulated.ends(signal.SIGINT) == 0
        said += simulated.said
    assert twin("audit", "verify", "--data", data).returncode == 0
    assert len(Recording.open(tmp_path / "recorded").manifest.tags) > 40

    kept.unlink()
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert {tmp_path / "recorded" / MANIFEST, data / "historian.duckdb"} <= written.keys()
    of_the_key = (plant / "twin.key.pem").read_text().splitlines()[5]
    for secret in (PASSWORD, WRONG, KEY_PASSWORD, of_the_key):
        assert secret not in "".join(said)
        assert not [file for file, content in written.items() if secret.encode() in content]


def changed(folder: Path, **fields: object) -> None:
    """The manifest says something else of the first model or file."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][0] |= fields
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "elsewhere", ["../secret.parquet", "samples/../../secret.parquet", "/etc/passwd", "a\\b", ""]
)
def test_a_recording_from_somebody_leads_nowhere_else(tmp_path: Path, elsewhere: str) -> None:
    folder = tmp_path / "recording"
    written(folder, [rows(10)])
    whole = (folder / Recording.open(folder).manifest.files[0].name).read_bytes()
    (tmp_path / "secret.parquet").write_bytes(whole)  # its checksum fits
    changed(folder, name=elsewhere)
    with pytest.raises(RecordingError, match="does not lie in the folder"):
        Recording.open(folder)


@pytest.mark.parametrize("version", ["../../etc/cron.d/x", "a/b", "", ".", "a\0b", "a\nb"])
def test_a_model_from_somebody_is_copied_nowhere_else(version: str) -> None:
    card = {"name": "x", "version": version, "step": "coating", "kind": "any"}
    with pytest.raises(ValueError, match="version"):
        Card.parse(json.dumps({**card, "inputs": [], "outputs": []}), "a card")


def test_the_commands_of_the_manual_run(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    listed = [
        line
        for block in re.findall(r"```console\n(.*?)```", text, re.S)
        for line in block.splitlines()
    ]
    commands = [shlex.split(line)[1:] for line in listed if "simulate" not in line]
    assert len(commands) == 5
    configuration(tmp_path, all_ports(1))
    (tmp_path / "var").mkdir()
    with Ledger(f"sqlite:///{tmp_path / 'var' / 'ledger.sqlite'}") as ledger:
        ledger.audit(1, "anna", "accept", {})
    for ended in twin_many(commands, tmp_path):
        assert ended.returncode == 0, ended.stderr
    made = {file.name for file in (tmp_path / "certs").glob("*.der")}
    assert made == {
        f"{name}.der" for name in ("ca", "twin", "broker", "virtual-line", "gauges", *MACHINES)
    }
    assert "anna" in (tmp_path / "trail.jsonl").read_text()
