from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entity_type import EntityType
from ..models.purge_state import PurgeState
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.owed_storage import OwedStorage
    from ..models.storage_sharer import StorageSharer


T = TypeVar("T", bound="OwedPurge")


@_attrs_define
class OwedPurge:
    """One purge that is owed."""

    age_seconds: int
    """ How long ago that is, in seconds. """
    attempts: int
    """ Attempts so far, whatever ended them: success, an error, a crash or a stop of the service. """
    id: str
    """ The entity's id. """
    last_error: None | str
    """ Why the last attempt failed. """
    next_attempt_at: datetime.datetime | None
    """ When it is tried next; null when it is being worked on or has failed. """
    obligations: list[OwedStorage]
    """ What it owes, one by one, in the order in which the storage URIs were given. """
    purge_id: UUID
    """ The purge. """
    requested_at: datetime.datetime | None
    """ When it was requested, RFC 3339. """
    running: bool
    """ Whether it is being worked on. """
    state: None | PurgeState
    storage_count: int
    """ How many storage URIs it has to clean. """
    type_: EntityType | None
    storage_shared_with: list[StorageSharer] | Unset = UNSET
    """ Of a purge that has failed: others who stand in its way, because they name storage in, around or at the same
    places and
    are not being purged; 20 at the most. Absent when there are none. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: the purge's row, or one of what it owes, cannot be read. What could be read of it is
    there; ids are nil
    or empty, numbers are 0 and all else is null where it could not. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.owed_storage import OwedStorage  # noqa: PLC0415
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415

        age_seconds = self.age_seconds

        attempts = self.attempts

        id = self.id

        last_error: None | str
        last_error = self.last_error

        next_attempt_at: None | str
        if isinstance(self.next_attempt_at, datetime.datetime):
            next_attempt_at = self.next_attempt_at.isoformat()
        else:
            next_attempt_at = self.next_attempt_at

        obligations = []
        for obligations_item_data in self.obligations:
            obligations_item = obligations_item_data.to_dict()
            obligations.append(obligations_item)

        purge_id = str(self.purge_id)

        requested_at: None | str
        if isinstance(self.requested_at, datetime.datetime):
            requested_at = self.requested_at.isoformat()
        else:
            requested_at = self.requested_at

        running = self.running

        state: None | str
        if isinstance(self.state, PurgeState):
            state = self.state.value
        else:
            state = self.state

        storage_count = self.storage_count

        type_: None | str
        if isinstance(self.type_, EntityType):
            type_ = self.type_.value
        else:
            type_ = self.type_

        storage_shared_with: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.storage_shared_with, Unset):
            storage_shared_with = []
            for storage_shared_with_item_data in self.storage_shared_with:
                storage_shared_with_item = storage_shared_with_item_data.to_dict()
                storage_shared_with.append(storage_shared_with_item)

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "age_seconds": age_seconds,
                "attempts": attempts,
                "id": id,
                "last_error": last_error,
                "next_attempt_at": next_attempt_at,
                "obligations": obligations,
                "purge_id": purge_id,
                "requested_at": requested_at,
                "running": running,
                "state": state,
                "storage_count": storage_count,
                "type": type_,
            }
        )
        if storage_shared_with is not UNSET:
            field_dict["storage_shared_with"] = storage_shared_with
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.owed_storage import OwedStorage  # noqa: PLC0415
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415

        d = dict(src_dict)
        age_seconds = d.pop("age_seconds")

        attempts = d.pop("attempts")

        id = d.pop("id")

        def _parse_last_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        last_error = _parse_last_error(d.pop("last_error"))

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

        obligations = []
        _obligations = d.pop("obligations")
        for obligations_item_data in _obligations:
            obligations_item = OwedStorage.from_dict(obligations_item_data)

            obligations.append(obligations_item)

        purge_id = UUID(d.pop("purge_id"))

        def _parse_requested_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                requested_at_type_0 = datetime.datetime.fromisoformat(data)

                return requested_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        requested_at = _parse_requested_at(d.pop("requested_at"))

        running = d.pop("running")

        def _parse_state(data: object) -> None | PurgeState:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                state_type_0 = PurgeState(data)

                return state_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PurgeState, data)

        state = _parse_state(d.pop("state"))

        storage_count = d.pop("storage_count")

        def _parse_type_(data: object) -> EntityType | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                type_type_0 = EntityType(data)

                return type_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(EntityType | None, data)

        type_ = _parse_type_(d.pop("type"))

        _storage_shared_with = d.pop("storage_shared_with", UNSET)
        storage_shared_with: list[StorageSharer] | Unset = UNSET
        if _storage_shared_with is not UNSET:
            storage_shared_with = []
            for storage_shared_with_item_data in _storage_shared_with:
                storage_shared_with_item = StorageSharer.from_dict(
                    storage_shared_with_item_data
                )

                storage_shared_with.append(storage_shared_with_item)

        unreadable = d.pop("unreadable", UNSET)

        owed_purge = cls(
            age_seconds=age_seconds,
            attempts=attempts,
            id=id,
            last_error=last_error,
            next_attempt_at=next_attempt_at,
            obligations=obligations,
            purge_id=purge_id,
            requested_at=requested_at,
            running=running,
            state=state,
            storage_count=storage_count,
            type_=type_,
            storage_shared_with=storage_shared_with,
            unreadable=unreadable,
        )

        owed_purge.additional_properties = d
        return owed_purge

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
