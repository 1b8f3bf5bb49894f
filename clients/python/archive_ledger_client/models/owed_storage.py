from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.obligation_state import ObligationState
from ..types import UNSET, Unset

T = TypeVar("T", bound="OwedStorage")


@_attrs_define
class OwedStorage:
    """One storage URI of a purge. It is named by its number: the URI itself is sealed."""

    bytes_: int
    """ Their size, in bytes. """
    last_error: None | str
    """ Why the last attempt failed. """
    objects: int
    """ Objects that were deleted so far. """
    state: ObligationState
    """ What one storage URI of a purge has come to. """
    storage: int
    """ Which of the URIs, from 1. """
    at_least: bool | Unset = UNSET
    """ True when these are a lower bound: an attempt was cut off before it had counted what it deleted. Absent
    otherwise. """
    failed_at: str | Unset = UNSET
    """ The object or folder that it failed at, or the place where it could not list; without any encoding. Absent
    when it did not
    fail. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        bytes_ = self.bytes_

        last_error: None | str
        last_error = self.last_error

        objects = self.objects

        state = self.state.value

        storage = self.storage

        at_least = self.at_least

        failed_at = self.failed_at

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bytes": bytes_,
                "last_error": last_error,
                "objects": objects,
                "state": state,
                "storage": storage,
            }
        )
        if at_least is not UNSET:
            field_dict["at_least"] = at_least
        if failed_at is not UNSET:
            field_dict["failed_at"] = failed_at

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        bytes_ = d.pop("bytes")

        def _parse_last_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        last_error = _parse_last_error(d.pop("last_error"))

        objects = d.pop("objects")

        state = ObligationState(d.pop("state"))

        storage = d.pop("storage")

        at_least = d.pop("at_least", UNSET)

        failed_at = d.pop("failed_at", UNSET)

        owed_storage = cls(
            bytes_=bytes_,
            last_error=last_error,
            objects=objects,
            state=state,
            storage=storage,
            at_least=at_least,
            failed_at=failed_at,
        )

        owed_storage.additional_properties = d
        return owed_storage

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
