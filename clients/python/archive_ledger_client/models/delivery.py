from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.delivery_state import DeliveryState
from ..models.entity_type import EntityType
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.receiver_circuit import ReceiverCircuit


T = TypeVar("T", bound="Delivery")


@_attrs_define
class Delivery:
    """One delivery."""

    attempt_count: int
    """ How many attempts were begun. """
    circuit: ReceiverCircuit
    """ The circuit of a delivery's receiver. """
    created_at: datetime.datetime | None
    """ When it was created, RFC 3339. """
    dataset_id: None | str
    """ The data set that the callback names. """
    entity_id: str
    """ The entity's id. """
    entity_type: EntityType | None
    error: None | str
    """ The error that the callback tells: null after a purge, the cause after one that failed. """
    event_id: UUID
    """ The event that it tells of. """
    finished_at: datetime.datetime | None
    """ When it was delivered, given up or superseded. """
    gone: bool
    """ Whether the receiver answered 410 Gone. """
    host: str
    """ The receiver, `host:port`. """
    id: UUID
    """ Its id, which the receiver sees as `webhook-id`. """
    last_error: None | str
    """ What went wrong last, as a short class. """
    last_status: int | None
    """ The last answer's status. """
    next_attempt_at: datetime.datetime | None
    """ When it is attempted next; null when it is finished or under way. """
    position: int
    """ That event's place in the log. """
    state: DeliveryState | None
    under_way: bool
    """ Whether an attempt is under way. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: the delivery's row cannot be read. What could be read of it is there; all else is
    null or 0, texts are
    empty and ids are nil. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.receiver_circuit import ReceiverCircuit  # noqa: PLC0415

        attempt_count = self.attempt_count

        circuit = self.circuit.to_dict()

        created_at: None | str
        if isinstance(self.created_at, datetime.datetime):
            created_at = self.created_at.isoformat()
        else:
            created_at = self.created_at

        dataset_id: None | str
        dataset_id = self.dataset_id

        entity_id = self.entity_id

        entity_type: None | str
        if isinstance(self.entity_type, EntityType):
            entity_type = self.entity_type.value
        else:
            entity_type = self.entity_type

        error: None | str
        error = self.error

        event_id = str(self.event_id)

        finished_at: None | str
        if isinstance(self.finished_at, datetime.datetime):
            finished_at = self.finished_at.isoformat()
        else:
            finished_at = self.finished_at

        gone = self.gone

        host = self.host

        id = str(self.id)

        last_error: None | str
        last_error = self.last_error

        last_status: int | None
        last_status = self.last_status

        next_attempt_at: None | str
        if isinstance(self.next_attempt_at, datetime.datetime):
            next_attempt_at = self.next_attempt_at.isoformat()
        else:
            next_attempt_at = self.next_attempt_at

        position = self.position

        state: None | str
        if isinstance(self.state, DeliveryState):
            state = self.state.value
        else:
            state = self.state

        under_way = self.under_way

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "attempt_count": attempt_count,
                "circuit": circuit,
                "created_at": created_at,
                "dataset_id": dataset_id,
                "entity_id": entity_id,
                "entity_type": entity_type,
                "error": error,
                "event_id": event_id,
                "finished_at": finished_at,
                "gone": gone,
                "host": host,
                "id": id,
                "last_error": last_error,
                "last_status": last_status,
                "next_attempt_at": next_attempt_at,
                "position": position,
                "state": state,
                "under_way": under_way,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.receiver_circuit import ReceiverCircuit  # noqa: PLC0415

        d = dict(src_dict)
        attempt_count = d.pop("attempt_count")

        circuit = ReceiverCircuit.from_dict(d.pop("circuit"))

        def _parse_created_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                created_at_type_0 = datetime.datetime.fromisoformat(data)

                return created_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        created_at = _parse_created_at(d.pop("created_at"))

        def _parse_dataset_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        dataset_id = _parse_dataset_id(d.pop("dataset_id"))

        entity_id = d.pop("entity_id")

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

        def _parse_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        error = _parse_error(d.pop("error"))

        event_id = UUID(d.pop("event_id"))

        def _parse_finished_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                finished_at_type_0 = datetime.datetime.fromisoformat(data)

                return finished_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        finished_at = _parse_finished_at(d.pop("finished_at"))

        gone = d.pop("gone")

        host = d.pop("host")

        id = UUID(d.pop("id"))

        def _parse_last_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        last_error = _parse_last_error(d.pop("last_error"))

        def _parse_last_status(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        last_status = _parse_last_status(d.pop("last_status"))

        def _parse_next_attempt_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                next_attempt_at_type_0 = datetime.datetime.fromisoformat(data)

                return next_attempt_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        next_attempt_at = _parse_next_attempt_at(d.pop("next_attempt_at"))

        position = d.pop("position")

        def _parse_state(data: object) -> DeliveryState | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                state_type_0 = DeliveryState(data)

                return state_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(DeliveryState | None, data)

        state = _parse_state(d.pop("state"))

        under_way = d.pop("under_way")

        unreadable = d.pop("unreadable", UNSET)

        delivery = cls(
            attempt_count=attempt_count,
            circuit=circuit,
            created_at=created_at,
            dataset_id=dataset_id,
            entity_id=entity_id,
            entity_type=entity_type,
            error=error,
            event_id=event_id,
            finished_at=finished_at,
            gone=gone,
            host=host,
            id=id,
            last_error=last_error,
            last_status=last_status,
            next_attempt_at=next_attempt_at,
            position=position,
            state=state,
            under_way=under_way,
            unreadable=unreadable,
        )

        delivery.additional_properties = d
        return delivery

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
