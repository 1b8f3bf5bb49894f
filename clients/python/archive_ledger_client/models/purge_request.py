from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="PurgeRequest")


@_attrs_define
class PurgeRequest:
    """The body, which may be left out."""

    deleted_callback: None | str | Unset = UNSET
    """ Called with `{"archiveId","datasetId","error"}` when the purge has ended: 1 to 2048 characters, none of them
    a control character. """

    def to_dict(self) -> dict[str, Any]:
        deleted_callback: None | str | Unset
        if isinstance(self.deleted_callback, Unset):
            deleted_callback = UNSET
        else:
            deleted_callback = self.deleted_callback

        field_dict: dict[str, Any] = {}

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

        purge_request = cls(
            deleted_callback=deleted_callback,
        )

        return purge_request
