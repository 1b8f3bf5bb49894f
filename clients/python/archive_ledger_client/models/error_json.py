from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.error_json_ctx import ErrorJsonCtx
    from ..models.error_json_details import ErrorJsonDetails


T = TypeVar("T", bound="ErrorJson")


@_attrs_define
class ErrorJson:
    """An error (seed 004, `ErrorJson`)."""

    ctx: ErrorJsonCtx
    """ Where an error comes from (seed 004, `ErrorJsonCtx`). """
    description: str
    """ The error in words. """
    id: str
    """ The error's type. Does not change between error instances. """
    details: ErrorJsonDetails | Unset = UNSET
    """ What a program may want to know; which fields there are is specific to each error type. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.error_json_ctx import ErrorJsonCtx  # noqa: PLC0415
        from ..models.error_json_details import ErrorJsonDetails  # noqa: PLC0415

        ctx = self.ctx.to_dict()

        description = self.description

        id = self.id

        details: dict[str, Any] | Unset = UNSET
        if not isinstance(self.details, Unset):
            details = self.details.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "ctx": ctx,
                "description": description,
                "id": id,
            }
        )
        if details is not UNSET:
            field_dict["details"] = details

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.error_json_ctx import ErrorJsonCtx  # noqa: PLC0415
        from ..models.error_json_details import ErrorJsonDetails  # noqa: PLC0415

        d = dict(src_dict)
        ctx = ErrorJsonCtx.from_dict(d.pop("ctx"))

        description = d.pop("description")

        id = d.pop("id")

        _details = d.pop("details", UNSET)
        details: ErrorJsonDetails | Unset
        if isinstance(_details, Unset):
            details = UNSET
        else:
            details = ErrorJsonDetails.from_dict(_details)

        error_json = cls(
            ctx=ctx,
            description=description,
            id=id,
            details=details,
        )

        error_json.additional_properties = d
        return error_json

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
