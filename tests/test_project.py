"""What is shipped: the wheel, the pinned dependencies, the changelog, the documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import pytest
import yaml

from surrogates.card import Card
from surrogates.onnx_model import OnnxSurrogate
from twin.configuration.models import (
    InterlockConfiguration,
    MqttAddress,
    MqttConnector,
    OpcUaConnector,
    SetpointConfiguration,
)
from twin.files import card_path
from twin.recommendation import FOLLOWS, Change, Effect, Recommendation
from twin.tags import Tag, TagTable

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def blocks(document: str, language: str) -> list[str]:
    """The fenced code of a document, in order."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return ZipFile(found)


def test_the_wheel_holds_configuration_models_and_licence(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    for path in (ROOT / "config").rglob("*.yaml"):
        assert f"twin/bundled/{path.relative_to(ROOT / 'config')}" in names
    models = list((ROOT / "surrogates" / "models").glob("*.onnx"))
    assert models
    for path in models:
        assert f"surrogates/models/{path.name}" in names
        assert f"surrogates/models/{card_path(path).name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_an_unpacked_wheel_finds_what_it_brings(wheel: ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    look = (
        "from twin.configuration.loading import bundled, load; path = bundled('line.yaml');"
        "print(load(path).name, path, bundled('scenarios/nominal.yaml'), sep='|')"
    )
    found = subprocess.run(
        [sys.executable, "-c", look],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    name, line, scenario = found.stdout.strip().split("|")
    assert name == "virtual pilot line"
    assert Path(line) == tmp_path / "twin/bundled/line.yaml"
    assert Path(scenario) == tmp_path / "twin/bundled/scenarios/nominal.yaml"


def test_constraints_are_names_and_versions_only() -> None:
    assert PINNED
    for line in PINNED:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+", line), line


def test_every_dependency_is_pinned() -> None:
    pinned = {normal(line.partition("==")[0]) for line in PINNED}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    for requirement in wanted:
        assert normal(re.split(r"[<>=~!\[; ]", requirement)[0]) in pinned
    assert "linetwin" not in pinned


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", text, re.MULTILINE)
    assert latest is not None
    assert latest[1] == PROJECT["version"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_decisions_are_numbered_and_have_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n + 1:04}" for n in range(len(pages))]
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page.name


def test_the_example_of_a_foreign_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (card,) = blocks("bring-your-own-model.md", "yaml")[:1]
    make, use = blocks("bring-your-own-model.md", "python")
    Path("oven.card.yaml").write_text(card, encoding="utf-8")
    names: dict[str, object] = {}
    exec(make, names)
    exec(use, names)
    model = OnnxSurrogate.load(tmp_path / "oven.onnx")
    assert model.inputs == ("zone_1_temperature", "line_speed")
    assert model.predict(np.array([[373.15, 1 / 60]])).mean[0, 0] == pytest.approx(92e-6, rel=1e-4)
    onnx.checker.check_model(str(tmp_path / "oven.onnx"))
    assert Card.parse(card, "the document").outputs[0].name == "dry_thickness"


def test_the_pieces_of_a_real_lines_configuration_are_valid() -> None:
    for text in blocks("connect-a-line.md", "yaml"):
        for connector in yaml.safe_load(text).get("connectors", {}).values():
            kind = {"opcua": OpcUaConnector, "mqtt": MqttConnector}[connector["kind"]]
            kind.model_validate(connector)
        for tag in yaml.safe_load(text).get("tags", {}).values():
            if "topic" in tag["address"]:
                MqttAddress.model_validate(tag["address"])


def test_the_pieces_of_a_secured_configuration_are_valid() -> None:
    for text in blocks("security.md", "yaml"):
        piece = yaml.safe_load(text)
        for connector in piece.get("connectors", {}).values():
            kind = {"opcua": OpcUaConnector, "mqtt": MqttConnector}[connector["kind"]]
            assert kind.model_validate(connector).security != "none"
        for step in piece.get("steps", {}).values():
            for setpoint in step["setpoints"].values():
                (own,) = SetpointConfiguration.model_validate(setpoint).interlocks
                assert own.max_age == 5
            for interlock in step["interlocks"]:
                InterlockConfiguration.model_validate(interlock)


def test_the_published_recommendation_is_as_documented() -> None:
    (example,) = blocks("recommendation-schema.md", "json")
    documented = json.loads(example)
    tags = TagTable([Tag("coater.pump_flow_setpoint", "mL/min", "MP", "setpoint")])
    litre = 1e-6 / 60
    recommendation = Recommendation(
        "r1",
        1,
        "coater",
        (Change("coating", 0, 40 * litre, 41 * litre),),
        (Effect("coating", "mass_loading", 0.175, 0.18, 0.0006, 0.18),),
        "why",
    )
    document = recommendation.document(tags, {"coating.mass_loading": (1e-3, 0.0, "g/m^2")})
    assert document["schema"] == documented["schema"]
    assert list(document) == list(documented)
    for part in ("changes", "expected"):
        assert list(document[part][0]) == list(documented[part][0])
    text = (ROOT / "docs" / "recommendation-schema.md").read_text(encoding="utf-8")
    for state in FOLLOWS:
        assert f"`{state}`" in text
