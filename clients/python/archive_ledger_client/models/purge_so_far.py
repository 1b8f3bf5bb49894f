from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="PurgeSoFar")


@_attrs_define
class PurgeSoFar:
    """What has become of a purge that is owed."""

    attempts: int
    """ Attempts so far, whatever ended them. """
    bytes_: int
    """ Their size, in bytes. """
    failed_at: list[str]
    """ The objects or folders that it failed at, or the places where it could not list; without any encoding. """
    last_error: None | str
    """ Why the last attempt failed. """
    objects: int
    """ Objects that were deleted so far. """
    at_least: bool | Unset = UNSET
    """ True when these are a lower bound: an attempt was cut off before it had counted what it deleted. Absent
    otherwise. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        attempts = self.attempts

        bytes_ = self.bytes_

        failed_at = self.failed_at

        last_error: None | str
        last_error = self.last_error

        objects = self.objects

        at_least = self.at_least

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "attempts": attempts,
                "bytes": bytes_,
                "failed_at": failed_at,
                "last_error": last_error,
                "objects": objects,
            }
        )
        if at_least is not UNSET:
            field_dict["at_least"] = at_least

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        attempts = d.pop("attempts")

        bytes_ = d.pop("bytes")

        failed_at = cast(list[str], d.pop("failed_at"))

        def _parse_last_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        last_error = _parse_last_error(d.pop("last_error"))

        objects = d.pop("objects")

        at_least = d.pop("at_least", UNSET)

        purge_so_far = cls(
            attempts=attempts,
            bytes_=bytes_,
            failed_at=failed_at,
            last_error=last_error,
            objects=objects,
            at_least=at_least,
        )

        purge_so_far.additional_properties = d
        return purge_so_far

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
