"""What can be asked and done."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from twin.api.access import TheDesk, TheUser, user_of
from twin.api.formats import Moment, nanoseconds
from twin.api.problems import ACCOUNT, NOT_BLANK, documented
from twin.configuration.models import Mode
from twin.desk import Entry, Wish
from twin.desk.reader import Reader
from twin.desk.replays import Playback
from twin.desk.views import (
    Advice,
    AlarmView,
    DesignView,
    LaboratoryEntry,
    ModelUse,
    Preview,
    StepView,
    WhatIf,
)
from twin.users import LONGEST, SHORTEST, Role

router = APIRouter(tags=["act"], dependencies=[Depends(user_of)], responses=documented(409))

Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=NOT_BLANK)]
ByName = Annotated[dict[Name, Number], Field(max_length=100)]
Identity = Annotated[int, Path(ge=0, le=2**53)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Setpoints(_Body):
    """Setpoints that are changed before accepting, in the units of their tags."""

    setpoints: ByName = Field(default_factory=dict)


class Rejection(_Body):
    reason: Reason


class ModeWish(_Body):
    mode: Mode


class Values(_Body):
    """Machine parameters by name, in full or in part, in the units of their tags."""

    values: ByName = Field(default_factory=dict)


class Target(_Body):
    value: Number
    tolerance: Annotated[float, Field(gt=0, le=1e12)] | None = None


class Range(_Body):
    low: Number
    high: Number


class Wishes(_Body):
    """Wanted structure parameters, and what may be moved for them."""

    targets: Annotated[dict[Name, Target], Field(min_length=1, max_length=20)]
    values: ByName = Field(default_factory=dict, description="machine parameters that are held")
    vary: Annotated[dict[Name, Range], Field(max_length=20)] = Field(
        default_factory=dict, description="machine parameters that may move besides setpoints"
    )
    limits: Annotated[dict[Name, Range], Field(max_length=20)] = Field(
        default_factory=dict, description="structure parameters to keep within"
    )


class LaboratoryValue(_Body):
    """A laboratory value of a metre of a roll, or of a slurry batch."""

    tag: Name
    value: Number
    unit: Name
    sampled: Moment
    roll: Annotated[int, Field(ge=0, le=2**53)] | None = None
    metre: Annotated[float, Field(ge=0, lt=1e6)] | None = None
    batch: Annotated[int, Field(ge=0, le=2**53)] | None = None
    note: Annotated[str, Field(max_length=500)] = ""
    confirmed: bool = Field(False, description="it is meant, although it is far from predicted")


class Correction(_Body):
    """Another value in the place of one that was entered."""

    value: Number
    unit: Name
    note: Reason
    confirmed: bool = False


class Shelving(_Body):
    seconds: Annotated[float, Field(ge=0, le=86_400, description="0 ends it")]


class NewUser(_Body):
    name: Annotated[str, Field(pattern=ACCOUNT)]
    role: Role
    password: Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST)]


class NewPassword(_Body):
    password: Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST)]


@router.post("/recommendations/{identity}/preview", responses=documented(404))
async def preview(desk: TheDesk, identity: str, body: Setpoints) -> Preview:
    """A recommendation as it would be accepted, what is expected, and what the guard objects to."""
    return await desk.preview(identity, body.setpoints)


@router.post("/recommendations/{identity}/accept", responses=documented(404))
async def accept(desk: TheDesk, user: TheUser, identity: str, body: Setpoints) -> Advice:
    """Accept a recommendation, perhaps changed; for operators.

    The guard judges it once more; then it is written and read back, which the recommendation tells.
    """
    return await desk.accept(user, identity, body.setpoints)


@router.post("/recommendations/{identity}/reject", responses=documented(404))
async def reject(desk: TheDesk, user: TheUser, identity: str, body: Rejection) -> Advice:
    """Reject a recommendation with a reason; for operators."""
    return await desk.reject(user, identity, body.reason)


@router.put("/steps/{name}/mode", responses=documented(404))
async def set_mode(desk: TheDesk, user: TheUser, name: str, body: ModeWish) -> StepView:
    """Set what a step may do; for engineers."""
    return await desk.set_mode(user, name, body.mode)


@router.post("/models/{step}/rollback", responses=documented(404))
async def roll_back(desk: TheDesk, user: TheUser, step: str) -> tuple[ModelUse, ...]:
    """Return to the model before the last promotion; for engineers."""
    return await desk.roll_back_model(user, step)


@router.post("/what-if", responses=documented(404))
async def what_if(desk: TheDesk, body: Values) -> WhatIf:
    """What the chain of steps makes of machine parameters; the rest stands as on the line."""
    return await desk.what_if(body.values)


@router.post("/design", responses=documented(404))
async def design(desk: TheDesk, body: Wishes) -> DesignView:
    """Machine parameters for wanted structure parameters; takes seconds."""
    return await design_of(desk, body)


async def design_of(reader: Reader | Playback, body: Wishes) -> DesignView:
    """The answer of a line that runs or is replayed."""
    return await reader.design(
        {name: Wish(each.value, each.tolerance) for name, each in body.targets.items()},
        body.values,
        {name: (each.low, each.high) for name, each in body.vary.items()},
        {name: (each.low, each.high) for name, each in body.limits.items()},
    )


@router.post("/laboratory", status_code=201)
async def enter(desk: TheDesk, user: TheUser, body: LaboratoryValue) -> LaboratoryEntry:
    """Enter a laboratory value; for operators. It is used at once, for its material."""
    entry = Entry(
        body.tag,
        body.value,
        body.unit,
        nanoseconds(body.sampled),
        body.roll,
        body.metre,
        body.batch,
        body.note,
    )
    return await desk.enter_laboratory(user, entry, body.confirmed)


@router.post("/laboratory/{number}/correction", status_code=201, responses=documented(404))
async def correct(
    desk: TheDesk, user: TheUser, number: Identity, body: Correction
) -> LaboratoryEntry:
    """Correct a laboratory value; both stay in the history. For operators."""
    return await desk.correct_laboratory(
        user, number, body.value, body.unit, body.note, body.confirmed
    )


@router.post("/alarms/{identity}/acknowledge", responses=documented(404, 409))
async def acknowledge(desk: TheDesk, user: TheUser, identity: str) -> AlarmView:
    """Say that an alarm was seen; for operators. A shelved one is not: end that first."""
    return await desk.acknowledge(user, identity)


@router.post("/alarms/{identity}/shelve", responses=documented(404))
async def shelve(desk: TheDesk, user: TheUser, identity: str, body: Shelving) -> AlarmView:
    """Put an alarm away for some time; for operators."""
    return await desk.shelve(user, identity, body.seconds)


@router.post("/accounts", status_code=204)
async def add_user(desk: TheDesk, user: TheUser, body: NewUser) -> None:
    """Add a user; for engineers."""
    await desk.add_user(user, body.name, body.role, body.password)


@router.delete("/accounts/{name}", status_code=204, responses=documented(404))
async def remove_account(desk: TheDesk, user: TheUser, name: str) -> None:
    """Remove a user or a token; for engineers."""
    await desk.remove_account(user, name)


@router.put("/accounts/{name}/password", status_code=204, responses=documented(404))
async def set_password(desk: TheDesk, user: TheUser, name: str, body: NewPassword) -> None:
    """Change one's own password, or as an engineer anybody's; it ends the sessions."""
    await desk.set_password(user, name, body.password)
