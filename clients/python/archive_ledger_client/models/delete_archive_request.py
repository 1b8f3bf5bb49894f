from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="DeleteArchiveRequest")


@_attrs_define
class DeleteArchiveRequest:
    """The body, which may be left out. Fields that are not named here are ignored, as Onedata does."""

    deleted_callback: None | str | Unset = UNSET
    """ Called with `{"archiveId","datasetId","error"}` when the purge has ended, until it answers with any 2xx: 1
    to 2048 characters, none of them a control character. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        deleted_callback: None | str | Unset
        if isinstance(self.deleted_callback, Unset):
            deleted_callback = UNSET
        else:
            deleted_callback = self.deleted_callback

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if deleted_callback is not UNSET:
            field_dict["deletedCallback"] = deleted_callback

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_deleted_callback(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        deleted_callback = _parse_deleted_callback(d.pop("deletedCallback", UNSET))

        delete_archive_request = cls(
            deleted_callback=deleted_callback,
        )

        delete_archive_request.additional_properties = d
        return delete_archive_request

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
