"""Secrets are kept elsewhere, and nothing that is printed or recorded holds one."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from twin.configuration import ConfigurationError, LineConfiguration, bundled, load
from twin.secrets import Secret, SecretError

HUSH = "hunter2-correct-horse"


class Holder(BaseModel):
    model_config = LineConfiguration.model_config
    password: Secret


def test_each_of_the_three_places_gives_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broker").write_text(f"{HUSH}\n")
    monkeypatch.setenv("BROKER_PASSWORD", HUSH)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for kept in (
        {"env": "BROKER_PASSWORD"},
        {"file": tmp_path / "broker"},
        {"credential": "broker"},
    ):
        secret = Secret.model_validate(kept)
        assert secret.read() == HUSH
        assert HUSH not in repr(secret) + str(secret) + secret.model_dump_json()


def test_a_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(HUSH)
    secret = Secret.model_validate({"file": "password"}, context={"beside": tmp_path})
    assert secret.read() == HUSH


def test_a_secret_that_changed_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    secret = Secret(file=file)
    file.write_text("first")
    assert secret.read() == "first"
    file.write_text("second\r\n")
    assert secret.read() == "second"


@pytest.mark.parametrize("written", [HUSH, 271828, [HUSH], {"value": HUSH}, {"env": HUSH + "!"}])
def test_a_secret_that_is_written_out_is_refused_and_not_repeated(written: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Holder.model_validate({"password": written})
    said = "".join(traceback.format_exception(refused.value))
    assert HUSH not in said
    assert "271828" not in said


def test_twin_check_does_not_repeat_it_either(tmp_path: Path) -> None:
    text = bundled("line.yaml").read_text().replace("publish: linetwin", f"password: {HUSH}")
    (tmp_path / "line.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path / "line.yaml")
    assert "password" in str(refused.value)
    assert HUSH not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({}, "exactly one"),
        ({"env": "A", "credential": "b"}, "exactly one"),
        ({"env": "1 A"}, "no environment variable"),
        ({"credential": "../shadow"}, "no name of a credential"),
        ({"credential": ".."}, "no name of a credential"),
    ],
)
def test_a_place_that_is_none_is_refused(kept: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Secret.model_validate(kept)


def test_a_secret_that_is_not_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for secret, words in (
        (Secret(env="EMPTY"), "EMPTY is not set or empty"),
        (Secret(file=tmp_path / "none"), "No such file"),
        (Secret(file=tmp_path), "Is a directory"),
        (Secret(file=tmp_path / "empty"), "is empty"),
        (Secret(file=tmp_path / "binary"), "not text"),
        (Secret(credential="broker"), "LoadCredential=broker:PATH"),
    ):
        with pytest.raises(SecretError, match=words):
            secret.read()
