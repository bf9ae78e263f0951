"""Users: who may do what; engineers add and remove, everybody changes their own password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from twin.desk.views import AccountView
from twin.screen.parts import button, confirm, el, panel, say, table
from twin.screen.visit import Visit
from twin.users import ROLES, SHORTEST, NotAllowedError, User


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words
    engineer = visit.may("engineer")

    @ui.refreshable
    async def accounts() -> None:
        found = await visit.desk.accounts(visit.user)
        with panel(words("users")):
            _accounts(visit, found, accounts.refresh)

    with el("div", classes="columns wide"):
        with el("div", classes="stack"):
            if engineer:
                await accounts()
            _own(visit)
        with el("div", classes="stack"):
            if engineer:
                _add(visit, accounts.refresh)
            else:
                el("p", words("needs_engineer", role=words(f"role_{visit.user.role}")), "soft")
            with panel(words("role")):
                rows = [[words(f"role_{role}"), words(f"role_{role}_may")] for role in ROLES]
                table([words("role"), words("may")], rows, caption=words("role"))


async def _do(visit: Visit, change: Callable[[User], Awaitable[object]]) -> bool:
    """Change the accounts; whether it was done."""
    try:
        await change(await visit.person())
    except (NotAllowedError, ValueError) as error:
        say(visit.words("failed_to", why=visit.words.sentence(str(error))), bad=True)
        return False
    return True


def _accounts(visit: Visit, accounts: tuple[AccountView, ...], again: Callable[[], object]) -> None:
    words = visit.words

    async def remove(account: AccountView) -> None:
        text = words("remove_sure", name=account.name)
        if not await confirm(text, words("remove"), words("cancel"), "danger"):
            return
        if await _do(visit, lambda user: visit.desk.remove_account(user, account.name)):
            again()

    def actions(account: AccountView) -> None:
        with el("div", classes="flow"):
            if account.kind == "user":
                button(words("set_password"), partial(_password, visit, account.name), "flat")
            mine = account.name == visit.user.name
            button(words("remove"), partial(remove, account), "flat", disabled=mine)

    table(
        [words("name"), words("kind"), words("role"), words("since"), ""],
        [
            [
                each.name,
                words(f"kind_{each.kind}"),
                words(f"role_{each.role}"),
                words.time(each.since),
                partial(actions, each),
            ]
            for each in accounts
        ],
        caption=words("users"),
    )


def _add(visit: Visit, again: Callable[[], object]) -> None:
    words = visit.words

    async def add() -> None:
        given, chosen = str(name.value or ""), next(each for each in ROLES if each == role.value)
        secret = str(password.value or "")
        if await _do(visit, lambda user: visit.desk.add_user(user, given, chosen, secret)):
            say(words("added", name=given))
            name.value = password.value = ""
            again()

    with panel(words("add_user")), el("div", classes="stack"):
        name = ui.input(words("name")).props("outlined autocomplete=off").style("width:100%")
        role = ui.select(
            {each: words(f"role_{each}") for each in ROLES}, value="operator", label=words("role")
        )
        role.props("outlined").style("width:100%")
        password = ui.input(words("password"), password=True, password_toggle_button=False)
        password.props("outlined autocomplete=new-password").style("width:100%")
        el("p", words("password_rule", count=SHORTEST), "small soft")
        with el("div", classes="flow"):
            button(words("add_user"), add, "primary big", "person_add")


async def _password(visit: Visit, name: str) -> None:
    words = visit.words

    async def save() -> None:
        secret = str(new.value or "")
        if await _do(visit, lambda user: visit.desk.set_password(user, name, secret)):
            say(words("passwords"))
            dialog.close()

    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", f"{words('new_password')}: {name}")
        new = ui.input(words("new_password"), password=True).props("outlined autofocus")
        new.props("autocomplete=new-password").style("width:100%")
        el("p", words("password_rule", count=SHORTEST), "small soft")
        with el("div", classes="flow"):
            button(words("save"), save, "primary big", "save")
            button(words("cancel"), dialog.close, "big")
    dialog.open()


def _own(visit: Visit) -> None:
    words = visit.words
    with panel(words("own_password")), el("div", classes="flow"):
        who = words("signed_in_as", name=visit.user.name, role=words(f"role_{visit.user.role}"))
        el("span", who)
        button(words("set_password"), partial(_password, visit, visit.user.name))
