"""What lies in deploy/ fits together: what one file names another has, and nothing is left open.

No container runs here: images are neither pulled nor started. What can run without them does, in
the other tests of this folder.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from connectors.line_protocol import EVENTS, LABORATORY, SAMPLES
from twin.configuration.models import StoreConfiguration

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def of_all(key: str) -> list[Any]:
    """What stands under a key in any service."""
    return [entry for service in SERVICES.values() for entry in service.get(key, ())]


def test_networks_volumes_and_secrets_are_declared_and_used() -> None:
    assert set(of_all("networks")) == set(COMPOSE["networks"])
    named = {mount.partition(":")[0] for mount in of_all("volumes") if not mount.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    secrets = {each if isinstance(each, str) else each["source"] for each in of_all("secrets")}
    assert secrets == set(COMPOSE["secrets"])
    assert set(of_all("depends_on")) <= set(SERVICES)


def test_what_is_mounted_is_in_the_checkout_or_made_by_hand() -> None:
    for mount in of_all("volumes"):
        source = mount.partition(":")[0]
        if source.startswith("./") and not source.startswith("./private/"):
            assert (DEPLOY / source).exists() or source == "./line.yaml", mount
            assert mount.endswith(":ro"), mount


def test_no_secret_is_written_out() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", name):
                assert name.endswith("FILE"), name
                assert value.startswith("/run/secrets/"), name


def test_images_have_plain_names_and_a_version() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[a-z-]+(/[a-z-]+)?:\d[\d.]*", service["image"]), name


def test_services_outlive_a_restart_of_the_machine_and_gain_no_rights() -> None:
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert SERVICES["twin"]["cap_drop"] == ["ALL"]
    assert SERVICES["twin"]["read_only"] is True
    assert COMPOSE["networks"]["store"]["internal"] is True


def test_the_image_is_made_of_what_there_is_and_is_not_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if re.match("COPY (?!--from)", line)]
    sources = {source for sources in copied for source in sources}
    assert all((ROOT / source).exists() for source in sources)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert [line for line in lines if line.startswith("USER ")] == ["USER linetwin"]
    assert lines.index("USER linetwin") > max(
        number for number, line in enumerate(lines) if line.startswith("FROM ")
    )


def test_dashboards_ask_the_source_that_is_provisioned() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "linetwin.yaml").read_text())
    (source,) = sources["datasources"]
    bucket = SERVICES["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert source["jsonData"]["dbName"] == bucket
    provider = yaml.safe_load((provisioning / "dashboards" / "linetwin.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]
    for file in (DEPLOY / "grafana" / "dashboards").iterdir():
        asked = set(re.findall(r'"type": "influxdb",\s*"uid": "(\w+)"', file.read_text()))
        assert asked == {source["uid"]}
        panels = json.loads(file.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_historian_in_the_manual_is_one() -> None:
    text = (ROOT / "docs" / "historians.md").read_text()
    shown = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    store = StoreConfiguration.model_validate(shown["store"])
    assert store.historian.kind == "influxdb"


def test_the_manual_names_every_measurement_that_is_written() -> None:
    text = (ROOT / "docs" / "historians.md").read_text()
    for name in (SAMPLES, LABORATORY, EVENTS):
        assert f"| `{name}` |" in text
