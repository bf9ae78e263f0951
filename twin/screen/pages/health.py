"""Health: connections, storage, what could not be used, versions."""

from __future__ import annotations

from functools import partial

from twin.desk.views import CheckView, ConnectorView
from twin.screen.parts import aged, el, number, panel, said, table
from twin.screen.visit import Visit


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words
    health = await visit.desk.health()

    def state(each: ConnectorView) -> None:
        with el("span", classes="flow nowrap"):
            said(f"dot.{each.name}", "dot")
            said(f"connector.{each.name}")

    def check(each: CheckView) -> None:
        bad = "chip bad" if each.weight != "note" else "chip warn"
        el("span", words("fine") if each.ok else words("not_fine"), "chip" if each.ok else bad)

    with el("div", classes="columns wide"):
        with panel(words("checks")):
            table(
                [words("name"), words("state"), words("text")],
                [
                    [words.name(each.name), partial(check, each), words.sentence(each.said)]
                    for each in health.checks
                ],
                caption=words("checks"),
            )
        with panel(words("connectors")):
            table(
                [
                    words("name"),
                    words("kind"),
                    words("state"),
                    words("last_sample"),
                    words("received"),
                    words("dropped"),
                ],
                [
                    [
                        words.name(each.name),
                        each.kind,
                        partial(state, each),
                        partial(_old, each.name),
                        partial(number, f"connector.{each.name}|m", 0),
                        partial(number, f"connector.{each.name}|dropped", 0),
                    ]
                    for each in health.connectors
                ],
                right=(3, 4, 5),
                caption=words("connectors"),
            )
        with panel(words("storage")):
            if health.store is not None:
                rows = [
                    [
                        words("historian"),
                        words("fine") if health.store.error is None else health.store.error,
                    ]
                ]
                table([words("name"), words("state")], rows, caption=words("storage"))
                with el("div", classes="facts"):
                    for field in ("stored", "waiting", "dropped"):
                        with el("span", classes="fact"):
                            number(f"store|{field}", 0, "is number")
                            el("span", words(field), "soft small")
        with panel(words("rejected_samples")):
            if not health.rejected:
                el("p", words("none_rejected"), "soft")
            else:
                table(
                    [words("reason"), words("samples")],
                    [
                        [words.sentence(why), words.number(count, 0)]
                        for why, count in health.rejected.items()
                    ],
                    right=(1,),
                    caption=words("rejected_samples"),
                )
        with panel(words("versions")):
            both = {
                **{words.name(step): version for step, version in health.models.items()},
                **health.versions,
            }
            table(
                [words("name"), words("version")],
                [[name, version] for name, version in both.items()],
                caption=words("versions"),
            )


def _old(name: str) -> None:
    aged(f"connector.{name}")
