"""The registry: which model predicts a step, as people decided on evidence; kept in the ledger.

Promotions of a step are a stack: each lies on the one before, and a rollback takes the last away.
At the bottom is the configured model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from twin.files import card_path, sha256
from twin.ledger import Ledger, Row
from twin.ports import Surrogate
from twin.verdict import BacktestReport

MODELS: Final = "models"
"""Below the store's folder."""


@dataclass(frozen=True, slots=True)
class InUse:
    """The model that predicts a step."""

    file: Path
    sha256: str
    """Empty for the configured model, which the ledger does not vouch for."""
    since: int | None
    """When it was decided, ns; None for the configured model of a step that had no other."""
    by: str
    evidence: str
    """SHA-256 of the report that it was promoted on."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Another model shall predict a step from now on."""

    step: str
    surrogate: Surrogate
    file: Path
    by: str


class Registry:
    """Promotes and rolls back; says what is in use. Synchronous, as the ledger is.

    Args:
        ledger: keeps what was decided.
        folder: of the store.
        configured: file of the configured model of every step.
        load: loads a model.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        configured: Mapping[str, Path],
        load: Callable[[Path], Surrogate],
    ) -> None:
        self.ledger = ledger
        self._folder = folder
        self._configured = configured
        self._load = load
        self._given: dict[str, InUse] = {}

    def start(self) -> dict[str, Surrogate]:
        """The models to begin with.

        Raises:
            ValueError: one cannot be used.
        """
        self._given = self.in_use()
        return {step: self.open(step, used) for step, used in self._given.items()}

    def changes(self) -> list[Changed]:
        """What was decided since this was last asked; a model that cannot be used is told once.

        Raises:
            ValueError: one cannot be used; the model before goes on.
        """
        found = []
        for step, used in self.in_use().items():
            before = self._given.get(step)
            if before is None or (before.file, before.sha256) != (used.file, used.sha256):
                self._given[step] = used
                found.append(Changed(step, self.open(step, used), used.file, used.by))
        return found

    def in_use(self) -> dict[str, InUse]:
        """By step; models of steps that are not configured any more are left out."""
        found = {
            step: InUse(file, "", None, "configuration", "")
            for step, file in self._configured.items()
        }
        for row in self.ledger.model_changes():
            step = row["step"]
            if step in found:
                found[step] = self._decided(step, row)
        return found

    def _decided(self, step: str, row: Row) -> InUse:
        file = self._folder / row["file"] if row["file"] else self._configured[step]
        return InUse(file, row["sha256"], row["time"], row["by"], row["evidence"])

    def open(self, step: str, used: InUse) -> Surrogate:
        """The model in use.

        Raises:
            ValueError: its file is missing, or not what was promoted.
        """
        if used.sha256 and (not used.file.is_file() or sha256(used.file) != used.sha256):
            raise ValueError(
                f"{used.file}, the promoted model of {step}, is missing or was changed; put it "
                f"back from a copy, or return to the model before with: twin rollback {step}"
            )
        return self._load(used.file)

    def promote(self, time: int, step: str, file: Path, report: Path, by: str) -> str:
        """Let a model predict a step from now on; gives its version.

        Args:
            time: ns.
            step: the step.
            file: of the model, with its card beside or inside it; it is copied.
            report: of a backtest that calls this very model better.
            by: who decides.

        Raises:
            ValueError: the model does not fit the step, or the report does not call it better;
                everything stays as it was.
        """
        self._known(step)
        if not file.is_file():
            raise ValueError(f"there is no model at {file}")
        model = self._load(file)
        digest = sha256(file)
        used = self.in_use()[step]
        before = self.open(step, used)
        if (model.inputs, model.outputs) != (before.inputs, before.outputs):
            raise ValueError(
                f"{file} takes {', '.join(model.inputs)} and gives {', '.join(model.outputs)}; "
                f"the model of {step} takes {', '.join(before.inputs)} and gives "
                f"{', '.join(before.outputs)}"
            )
        if sha256(used.file) == digest:
            raise ValueError(f"{file} predicts {step} already")
        evidence = examine(report, step, digest, used.file)
        name = f"{MODELS}/{step}-{model.version}-{digest[:8]}.onnx"
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for source, copy in ((card_path(file), card_path(target)), (file, target)):
            if source.is_file() and source.resolve() != copy.resolve():
                draft = copy.with_name(f".{copy.name}.draft")
                shutil.copyfile(source, draft)
                draft.replace(copy)
        self.ledger.promote_model(
            time, step, name, model.version, digest, before.version, by, evidence
        )
        return model.version

    def roll_back(self, time: int, step: str, by: str) -> str:
        """Return to the model before the last promotion; gives its version.

        Raises:
            ValueError: the configured model is in use, or the model before cannot be used.
        """
        self._known(step)
        stack: list[Row] = []
        for row in self.ledger.model_changes():
            if row["step"] == step and row["kind"] == "promoted":
                stack.append(row)
            elif row["step"] == step:
                stack.pop()
        if not stack:
            raise ValueError(f"{step} is predicted by its configured model; nothing to take back")
        goes = stack.pop()
        to = {"file": "", "version": "", "sha256": ""}
        used = InUse(self._configured[step], "", None, "", "")
        if stack:
            to = {name: stack[-1][name] for name in ("file", "version", "sha256", "evidence")}
            used = self._decided(step, stack[-1])
        version = self.open(step, used).version
        self.ledger.roll_back_model(time, step, {**to, "version": version}, goes["version"], by)
        return version

    def history(self, step: str) -> list[Row]:
        """What was decided on a step, in order."""
        return [row for row in self.ledger.model_changes() if row["step"] == step]

    def _known(self, step: str) -> None:
        if step not in self._configured:
            known = ", ".join(self._configured)
            raise ValueError(f"there is no step {step} in the configuration; choose from {known}")


def examine(report: Path, step: str, digest: str, used: Path) -> str:
    """The SHA-256 of a backtest report that calls a model better than the one in use.

    Raises:
        ValueError: it is no report, is about other files, or does not call the model better.
    """
    if not report.is_file():
        raise ValueError(
            f"there is no report at {report}; write one with: "
            "twin backtest RECORDING --model STEP=FILE --output REPORT"
        )
    try:
        found = BacktestReport.model_validate_json(report.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{report} is no report of a backtest: {error.errors()[0]['msg']}"
        ) from None
    tried = [each for each in found.challengers if step in each.models]
    about = [each for each in tried if each.models[step].sha256 == digest]
    if not about:
        others = ", ".join(each.models[step].sha256[:12] for each in tried) or "none"
        raise ValueError(
            f"{report} does not judge this model of {step} (SHA-256 {digest[:12]}; models of "
            f"{step} that it judges: {others}); backtest this very file"
        )
    alone = [each for each in about if set(each.models) == {step}]
    if not alone:
        raise ValueError(
            f"{report} judges this model of {step} only together with models of other steps; "
            "backtest it alone"
        )
    champion = found.champion.models.get(step)
    if champion is None or champion.sha256 != sha256(used):
        with_whom = "none" if champion is None else f"model {champion.version}"
        raise ValueError(
            f"{report} compares with {with_whom} of {step}, which is not in use now; backtest on a "
            f"recording that was made with the model in use, or return to {with_whom} first"
        )
    for each in alone:
        if each.verdict == "better":
            return sha256(report)
    said = alone[0]
    raise ValueError(
        f"{report} does not call this model of {step} better, but says: {said.verdict}"
        + "".join(f"; {reason}" for reason in said.reasons)
    )
