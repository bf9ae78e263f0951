"""Real time-series servers for tests: they can be killed and started again on the same port."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.servers import free_port


class Server:
    """A program that answers at a URL once it is up, and is gone when the block ends.

    Args:
        folder: for its data and log.
        health: path that answers when it is up.
    """

    def __init__(self, folder: Path, health: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.context: ssl.SSLContext | None = None
        self._health = health
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.kill()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.get(self._health)
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It holds its connections and says nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # it may answer until the last of its threads has stopped
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """It goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """As a service manager would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
            self._process = None

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(
            f"{self.url}{path}", timeout=10, context=self.context
        ) as response:
            content: bytes = response.read()
        return content


class VictoriaMetrics(Server):
    """VictoriaMetrics that keeps everything, where nothing else is said."""

    def __init__(self, folder: Path, retention: str = "100y", options: Sequence[str] = ()) -> None:
        super().__init__(folder, "/health")
        self._options = [f"-retentionPeriod={retention}", *options]

    def command(self) -> list[str]:
        return [
            shutil.which("victoria-metrics") or "/usr/bin/victoria-metrics",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.folder / 'data'}",
            "-memory.allowedBytes=128MB",
            *self._options,
        ]

    def outlive(self) -> None:
        """Wait for the end of the second in which it began: it tells no more of its start."""
        first = int(self.get("/metrics").split(b"vm_app_start_timestamp ")[1].split()[0])
        while int(time.time()) == first:
            time.sleep(0.05)


class InfluxDB1(Server):
    """InfluxDB 1 with a database `plant` and a user `admin`, whose password is `secret`."""

    token = "admin:secret"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "/ping")
        self.token_file = folder / "token"
        self.token_file.write_text(f"{self.token}\n")
        self._prepared = False
        (folder / "influxdb.conf").write_text(
            f"""
            reporting-disabled = true
            bind-address = "127.0.0.1:{free_port()}"
            [meta]
            dir = "{folder / "meta"}"
            [data]
            dir = "{folder / "data"}"
            wal-dir = "{folder / "wal"}"
            query-log-enabled = false
            [http]
            bind-address = "127.0.0.1:{self.port}"
            auth-enabled = true
            log-enabled = false
            [monitor]
            store-enabled = false
            """
        )

    def command(self) -> list[str]:
        program = shutil.which("influxd") or "/usr/bin/influxd"
        return [program, "-config", str(self.folder / "influxdb.conf")]

    def start(self) -> None:
        super().start()
        if not self._prepared:
            self.ask("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
            self.ask("CREATE DATABASE plant")
            self._prepared = True

    def ask(self, statement: str) -> Any:
        """What it answers to a statement of InfluxQL."""
        request = urllib.request.Request(
            f"{self.url}/query",
            urlencode({"q": statement, "db": "plant", "epoch": "ns"}).encode(),
            {"Authorization": "Basic " + b64encode(self.token.encode()).decode()},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)["results"]
