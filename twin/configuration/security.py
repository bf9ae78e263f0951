"""How connections are secured: who is trusted, as whom the twin comes, and `none` in words."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from twin.configuration.section import Section
from twin.files import Beside
from twin.secrets import Secret


class OpcUaSecurity(Section):
    """Signed and encrypted: Aes256Sha256RsaPss, or Basic256Sha256 with a server that lacks it."""

    certificate: Beside = Field(
        description="the twin's own certificate, DER or PEM; make one with `twin certs`"
    )
    key: Beside = Field(description="its private key, DER or PEM")
    key_password: Secret | None = Field(None, description="of an encrypted private key")
    trusts: list[Beside] = Field(
        min_length=1,
        description="certificates of servers, or of authorities that sign them; files or folders",
    )


class MqttSecurity(Section):
    """TLS 1.2 or newer; the broker is asked for a certificate of its own name."""

    trusts: list[Beside] = Field(
        min_length=1,
        description="certificates of brokers, or of authorities that sign them; files or folders",
    )
    certificate: Beside | None = Field(
        None, description="the twin's own certificate, where the broker asks for one"
    )
    key: Beside | None = Field(None, description="its private key")
    key_password: Secret | None = Field(None, description="of an encrypted private key")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate is of no use without its key; write both, or neither")
        return self


class OpcUaUser(Section):
    """As whom the twin logs in: by name and password, or by a certificate of its own."""

    name: str | None = Field(None, min_length=1, description="user name")
    password: Secret | None = Field(None, description="of that user")
    certificate: Beside | None = Field(None, description="certificate of the user, DER or PEM")
    key: Beside | None = Field(None, description="its private key")
    key_password: Secret | None = Field(None, description="of an encrypted private key")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [self.name, self.password, self.certificate, self.key]
        kinds = [each is not None for each in given]
        if kinds not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError(
                "a user comes by name or by certificate; write {name: ..., password: ...} or "
                "{certificate: ..., key: ...}"
            )
        return self


class MqttUser(Section):
    """As whom the twin logs in at a broker."""

    name: str = Field(min_length=1, description="user name")
    password: Secret = Field(description="of that user")


OpcUaChannel = Annotated[
    Annotated[Literal["none"], Tag("none")] | Annotated[OpcUaSecurity, Tag("OpcUaSecurity")],
    Discriminator(lambda value: "none" if isinstance(value, str) else "OpcUaSecurity"),
]
MqttChannel = Annotated[
    Annotated[Literal["none"], Tag("none")] | Annotated[MqttSecurity, Tag("MqttSecurity")],
    Discriminator(lambda value: "none" if isinstance(value, str) else "MqttSecurity"),
]
