"""What systemd and the log's readers are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import structlog
import yaml
from sdnotify import SystemdNotifier

from tests.in_process import ROOT
from tests.servers import until
from tests.twin.test_service import running
from twin import health, logs
from twin.configuration.models import OperationConfiguration
from twin.logs import log_to
from twin.notifying import notify
from twin.reloading import CHANGEABLE


async def test_systemd_is_told_of_the_start_the_life_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")

        notifier = SystemdNotifier()

        def heard() -> list[str]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    told.extend(systemd.recv(4096).decode().split("\n"))
            return told

        # as systemd does, while the service ends, too
        asyncio.get_running_loop().add_reader(systemd, heard)
        async with running(tmp_path / "store") as service:
            notifying = asyncio.create_task(notify(service, notifier))
            await until(lambda: "READY=1" in heard())
            # a systemd that reads nothing holds nobody up
            assert not notifier.socket.getblocking()
            await until(lambda: "STATUS=follows the line" in heard())
            fed = told.count("WATCHDOG=1")
            await until(lambda: heard().count("WATCHDOG=1") > fed)
            # a loop that does not beat is not fed
            monkeypatch.setattr(health, "HUNG", -1.0)
            await until(lambda: any("last beat" in each for each in heard()))
            heard()
            fed = told.count("WATCHDOG=1")
            statuses = len(told)
            await until(lambda: len(heard()) > statuses + 3)
            assert told.count("WATCHDOG=1") == fed
        await notifying
        assert heard()[-1] == "STOPPING=1"
        asyncio.get_running_loop().remove_reader(systemd)
        notifier.socket.close()


def test_the_log_is_lines_of_json_whoever_logs_in_files_that_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SIZE", 2000)
    file = tmp_path / "log" / "twin.jsonl"
    log_to(file)
    try:
        ours = structlog.get_logger()
        for number in range(40):
            ours.info("mode", step="coating", number=number)
        logging.getLogger("library").error("it is %s", "broken")
        try:
            raise ValueError("why")
        except ValueError:
            ours.exception("core")
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
    files = sorted(tmp_path.glob("log/twin.jsonl*"))
    assert 1 < len(files) <= logs.KEPT + 1
    assert all(each.stat().st_size < 4000 for each in files)
    entries = [json.loads(line) for each in files for line in each.read_text().splitlines()]
    assert {"event": "mode", "step": "coating"}.items() <= entries[-1].items()
    (library,) = [each for each in entries if each.get("logger") == "library"]
    assert library["event"] == "it is broken"
    (failed,) = [each for each in entries if each["event"] == "core"]
    assert "ValueError: why" in failed["exception"]
    assert failed["level"] == "error"
    assert all({"event", "level", "timestamp"} <= each.keys() for each in entries)


def test_the_documented_operation_is_what_the_program_does() -> None:
    text = (ROOT / "docs" / "operation.md").read_text()
    section = text.partition("## Change the configuration")[2].partition("##")[0]
    for path in CHANGEABLE:
        assert f"`{path.rpartition('*.')[2]}`" in section, path
    example = text.partition("```yaml\n")[2].partition("```")[0]
    OperationConfiguration.model_validate(yaml.safe_load(example)["operation"])


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    text = (ROOT / "deploy" / "linetwin.service").read_text()
    assert "Type=notify" in text
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    unit = tmp_path / "linetwin.service"
    # the program is not installed where tests run
    unit.write_text(text.replace("/opt/linetwin/bin/twin", "/bin/true"))
    said = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    ours = [line for line in said.stderr.splitlines() if "linetwin" in line]
    assert (said.returncode, ours) == (0, [])
