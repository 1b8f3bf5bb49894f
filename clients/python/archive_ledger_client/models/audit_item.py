from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.audit_action import AuditAction
from ..models.audit_outcome import AuditOutcome
from ..models.entity_type import EntityType
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.audit_item_facts_type_0 import AuditItemFactsType0


T = TypeVar("T", bound="AuditItem")


@_attrs_define
class AuditItem:
    """One line of the audit. What does not apply or was not recorded is null."""

    action: AuditAction | None
    actor: None | str
    """ Who acted, as a valid token said. """
    causation_id: None | UUID
    """ The event that made the service issue the command itself. """
    command_id: None | UUID
    """ The command; events of one command share it. """
    count: int
    """ How often so far: alike attempts of a minute are one line. """
    detail: None | str
    """ More of an attempt, such as the filters of a read. """
    entity_id: None | str
    """ The entity's id. """
    entity_type: EntityType | None
    event_id: None | UUID
    """ The event's id. """
    facts: AuditItemFactsType0 | None
    """ The event's readable facts. """
    ip: None | str
    """ The peer's address. """
    last_at: datetime.datetime | None
    """ The last time so far, of an attempt. """
    outcome: AuditOutcome | None
    position: int
    """ The event's place in the log; of an attempt, the last one when it was written. """
    reason: None | str
    """ Why: the command's `X-Reason-Code`; of an attempt, what it was refused for. """
    recorded_at: datetime.datetime | None
    """ When it was recorded; of an attempt, the first time. RFC 3339. """
    request_id: None | str
    """ The request; of attempts, the first one. """
    sequence: int
    """ The attempt's place among those at its position; 0 for an event. """
    token_id_hash: None | str
    """ The SHA-256 of the token's id, in hexadecimal. """
    token_issuer: None | str
    """ The token's issuer. """
    user_agent: None | str
    """ The peer's program. """
    version: int | None
    """ The entity's version after the event. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: the line cannot be read. Its place is right; what could not be read of it is null.
    """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.audit_item_facts_type_0 import AuditItemFactsType0  # noqa: PLC0415

        action: None | str
        if isinstance(self.action, AuditAction):
            action = self.action.value
        else:
            action = self.action

        actor: None | str
        actor = self.actor

        causation_id: None | str
        if isinstance(self.causation_id, UUID):
            causation_id = str(self.causation_id)
        else:
            causation_id = self.causation_id

        command_id: None | str
        if isinstance(self.command_id, UUID):
            command_id = str(self.command_id)
        else:
            command_id = self.command_id

        count = self.count

        detail: None | str
        detail = self.detail

        entity_id: None | str
        entity_id = self.entity_id

        entity_type: None | str
        if isinstance(self.entity_type, EntityType):
            entity_type = self.entity_type.value
        else:
            entity_type = self.entity_type

        event_id: None | str
        if isinstance(self.event_id, UUID):
            event_id = str(self.event_id)
        else:
            event_id = self.event_id

        facts: dict[str, Any] | None
        if isinstance(self.facts, AuditItemFactsType0):
            facts = self.facts.to_dict()
        else:
            facts = self.facts

        ip: None | str
        ip = self.ip

        last_at: None | str
        if isinstance(self.last_at, datetime.datetime):
            last_at = self.last_at.isoformat()
        else:
            last_at = self.last_at

        outcome: None | str
        if isinstance(self.outcome, AuditOutcome):
            outcome = self.outcome.value
        else:
            outcome = self.outcome

        position = self.position

        reason: None | str
        reason = self.reason

        recorded_at: None | str
        if isinstance(self.recorded_at, datetime.datetime):
            recorded_at = self.recorded_at.isoformat()
        else:
            recorded_at = self.recorded_at

        request_id: None | str
        request_id = self.request_id

        sequence = self.sequence

        token_id_hash: None | str
        token_id_hash = self.token_id_hash

        token_issuer: None | str
        token_issuer = self.token_issuer

        user_agent: None | str
        user_agent = self.user_agent

        version: int | None
        version = self.version

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "action": action,
                "actor": actor,
                "causation_id": causation_id,
                "command_id": command_id,
                "count": count,
                "detail": detail,
                "entity_id": entity_id,
                "entity_type": entity_type,
                "event_id": event_id,
                "facts": facts,
                "ip": ip,
                "last_at": last_at,
                "outcome": outcome,
                "position": position,
                "reason": reason,
                "recorded_at": recorded_at,
                "request_id": request_id,
                "sequence": sequence,
                "token_id_hash": token_id_hash,
                "token_issuer": token_issuer,
                "user_agent": user_agent,
                "version": version,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.audit_item_facts_type_0 import AuditItemFactsType0  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_action(data: object) -> AuditAction | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                action_type_0 = AuditAction(data)

                return action_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditAction | None, data)

        action = _parse_action(d.pop("action"))

        def _parse_actor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        actor = _parse_actor(d.pop("actor"))

        def _parse_causation_id(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                causation_id_type_0 = UUID(data)

                return causation_id_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        causation_id = _parse_causation_id(d.pop("causation_id"))

        def _parse_command_id(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                command_id_type_0 = UUID(data)

                return command_id_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        command_id = _parse_command_id(d.pop("command_id"))

        count = d.pop("count")

        def _parse_detail(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        detail = _parse_detail(d.pop("detail"))

        def _parse_entity_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        entity_id = _parse_entity_id(d.pop("entity_id"))

        def _parse_entity_type(data: object) -> EntityType | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                entity_type_type_0 = EntityType(data)

                return entity_type_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(EntityType | None, data)

        entity_type = _parse_entity_type(d.pop("entity_type"))

        def _parse_event_id(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                event_id_type_0 = UUID(data)

                return event_id_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        event_id = _parse_event_id(d.pop("event_id"))

        def _parse_facts(data: object) -> AuditItemFactsType0 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                facts_type_0 = AuditItemFactsType0.from_dict(data)

                return facts_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditItemFactsType0 | None, data)

        facts = _parse_facts(d.pop("facts"))

        def _parse_ip(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        ip = _parse_ip(d.pop("ip"))

        def _parse_last_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_at = _parse_last_at(d.pop("last_at"))

        def _parse_outcome(data: object) -> AuditOutcome | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                outcome_type_0 = AuditOutcome(data)

                return outcome_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditOutcome | None, data)

        outcome = _parse_outcome(d.pop("outcome"))

        position = d.pop("position")

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        def _parse_recorded_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                recorded_at_type_0 = datetime.datetime.fromisoformat(data)

                return recorded_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        recorded_at = _parse_recorded_at(d.pop("recorded_at"))

        def _parse_request_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        request_id = _parse_request_id(d.pop("request_id"))

        sequence = d.pop("sequence")

        def _parse_token_id_hash(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        token_id_hash = _parse_token_id_hash(d.pop("token_id_hash"))

        def _parse_token_issuer(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        token_issuer = _parse_token_issuer(d.pop("token_issuer"))

        def _parse_user_agent(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        user_agent = _parse_user_agent(d.pop("user_agent"))

        def _parse_version(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        version = _parse_version(d.pop("version"))

        unreadable = d.pop("unreadable", UNSET)

        audit_item = cls(
            action=action,
            actor=actor,
            causation_id=causation_id,
            command_id=command_id,
            count=count,
            detail=detail,
            entity_id=entity_id,
            entity_type=entity_type,
            event_id=event_id,
            facts=facts,
            ip=ip,
            last_at=last_at,
            outcome=outcome,
            position=position,
            reason=reason,
            recorded_at=recorded_at,
            request_id=request_id,
            sequence=sequence,
            token_id_hash=token_id_hash,
            token_issuer=token_issuer,
            user_agent=user_agent,
            version=version,
            unreadable=unreadable,
        )

        audit_item.additional_properties = d
        return audit_item

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
