from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entity_state import EntityState
from ..models.event_name import EventName
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.history_event_details_type_0 import HistoryEventDetailsType0
    from ..models.history_event_facts import HistoryEventFacts


T = TypeVar("T", bound="HistoryEvent")


@_attrs_define
class HistoryEvent:
    """One event of an entity."""

    actor: str
    """ Who acted. """
    command_id: UUID
    """ The command; events of one command share it. """
    details: HistoryEventDetailsType0 | None
    """ What was sealed with it; null when nothing was, or when it is erased. """
    erased: bool
    """ Whether what was sealed with it is gone for good. """
    event: EventName
    """ What can happen to an entity. """
    event_id: UUID
    """ Its id. """
    facts: HistoryEventFacts
    """ Its readable facts. """
    leaf_hash: str
    """ Its leaf of the log's Merkle tree (RFC 6962), in hexadecimal: what the proof proves. """
    position: int
    """ Its place in the log. """
    proof: str
    """ Where its proof is. """
    reason_code: None | str
    """ Why, as a code (`X-Reason-Code`): it outlives a purge. """
    recorded_at: datetime.datetime | None
    """ When it was recorded; null only where `unreadable` is true. """
    request_id: None | str
    """ The request that carried the command. """
    state: EntityState
    """ Where an entity stands: `unknown` is before the ledger heard of it, `purged` is for good. """
    version: int
    """ The entity's version after it. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: something is sealed with it that cannot be opened, or its time is none. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.history_event_details_type_0 import HistoryEventDetailsType0  # noqa: PLC0415
        from ..models.history_event_facts import HistoryEventFacts  # noqa: PLC0415

        actor = self.actor

        command_id = str(self.command_id)

        details: dict[str, Any] | None
        if isinstance(self.details, HistoryEventDetailsType0):
            details = self.details.to_dict()
        else:
            details = self.details

        erased = self.erased

        event = self.event.value

        event_id = str(self.event_id)

        facts = self.facts.to_dict()

        leaf_hash = self.leaf_hash

        position = self.position

        proof = self.proof

        reason_code: None | str
        reason_code = self.reason_code

        recorded_at: None | str
        if isinstance(self.recorded_at, datetime.datetime):
            recorded_at = self.recorded_at.isoformat()
        else:
            recorded_at = self.recorded_at

        request_id: None | str
        request_id = self.request_id

        state = self.state.value

        version = self.version

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "actor": actor,
                "command_id": command_id,
                "details": details,
                "erased": erased,
                "event": event,
                "event_id": event_id,
                "facts": facts,
                "leaf_hash": leaf_hash,
                "position": position,
                "proof": proof,
                "reason_code": reason_code,
                "recorded_at": recorded_at,
                "request_id": request_id,
                "state": state,
                "version": version,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.history_event_details_type_0 import HistoryEventDetailsType0  # noqa: PLC0415
        from ..models.history_event_facts import HistoryEventFacts  # noqa: PLC0415

        d = dict(src_dict)
        actor = d.pop("actor")

        command_id = UUID(d.pop("command_id"))

        def _parse_details(data: object) -> HistoryEventDetailsType0 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                details_type_0 = HistoryEventDetailsType0.from_dict(data)

                return details_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(HistoryEventDetailsType0 | None, data)

        details = _parse_details(d.pop("details"))

        erased = d.pop("erased")

        event = EventName(d.pop("event"))

        event_id = UUID(d.pop("event_id"))

        facts = HistoryEventFacts.from_dict(d.pop("facts"))

        leaf_hash = d.pop("leaf_hash")

        position = d.pop("position")

        proof = d.pop("proof")

        def _parse_reason_code(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason_code = _parse_reason_code(d.pop("reason_code"))

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

        state = EntityState(d.pop("state"))

        version = d.pop("version")

        unreadable = d.pop("unreadable", UNSET)

        history_event = cls(
            actor=actor,
            command_id=command_id,
            details=details,
            erased=erased,
            event=event,
            event_id=event_id,
            facts=facts,
            leaf_hash=leaf_hash,
            position=position,
            proof=proof,
            reason_code=reason_code,
            recorded_at=recorded_at,
            request_id=request_id,
            state=state,
            version=version,
            unreadable=unreadable,
        )

        history_event.additional_properties = d
        return history_event

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
