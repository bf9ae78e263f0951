"""Which time-series store keeps the samples, and how it is reached."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from twin.configuration.section import Section
from twin.files import Beside
from twin.secrets import Secret


def _without_login(url: str) -> str:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "a login is not written into an address; write the address alone, and token: {env: ...}"
        )
    return url


Url = Annotated[str, Field(pattern=r"^https?://[^/?#]+(/[^?#]*)?$"), AfterValidator(_without_login)]


class HistorianSecurity(Section):
    """TLS with servers that the machine itself does not trust."""

    trusts: list[Beside] = Field(
        min_length=1,
        description="certificates of servers, or of authorities that sign them; files or folders",
    )


HistorianChannel = Annotated[
    Annotated[Literal["none"], Tag("none")] | Annotated[HistorianSecurity, Tag("trusts")],
    Discriminator(lambda value: "none" if isinstance(value, str) else "trusts"),
]


class EmbeddedHistorianConfiguration(Section):
    """DuckDB: a file in the store's folder."""

    kind: Literal["duckdb"] = Field(description="says that the samples are in a file of the twin")


_SECURITY = (
    "`none`: http, in the clear; on this machine itself it need not be said. With https, `trusts` "
    "names certificates where the machine's own authorities do not sign the server's"
)


class InfluxHistorianConfiguration(Section):
    """InfluxDB 1, 2 or 3 Core."""

    kind: Literal["influxdb"] = Field(description="says that the samples are in an InfluxDB")
    url: Url = Field(description="address, e.g. https://host:8086")
    security: HistorianChannel | None = Field(None, description=_SECURITY)
    version: Literal[1, 2, 3] = Field(2, description="of InfluxDB; 1 from 1.6, 2 from 2.4")
    database: str = Field(
        min_length=1, pattern=r'^[^"/\\]+$', description="database, or in version 2 bucket"
    )
    organisation: str | None = Field(None, description="in version 2, whose bucket it is")
    token: Secret | None = Field(None, description="token; in version 1 user:password")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.version == 2) != (self.organisation is not None):
            raise ValueError(
                "a bucket of version 2 belongs to an organisation, a database of version 1 or 3 to "
                "none; write version and organisation accordingly"
            )
        return self


class VictoriaHistorianConfiguration(Section):
    """VictoriaMetrics, a single node; times are kept to the millisecond."""

    kind: Literal["victoria_metrics"] = Field(
        description="says that the samples are in a VictoriaMetrics"
    )
    url: Url = Field(description="address, e.g. https://host:8428")
    security: HistorianChannel | None = Field(None, description=_SECURITY)
    token: Secret | None = Field(None, description="a bearer token, or user:password")


HistorianConfiguration = Annotated[
    EmbeddedHistorianConfiguration | InfluxHistorianConfiguration | VictoriaHistorianConfiguration,
    Field(discriminator="kind"),
]
