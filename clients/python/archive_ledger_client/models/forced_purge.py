from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entity_type import EntityType
from ..types import UNSET, Unset

T = TypeVar("T", bound="ForcedPurge")


@_attrs_define
class ForcedPurge:
    """A purge that was forced."""

    id: str
    """ The entity's id: its history tells what was given up. """
    message: str
    """ What was done, for people. """
    purge_id: UUID
    """ The purge, which is over. """
    type_: EntityType
    """ A type of entities. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        message = self.message

        purge_id = str(self.purge_id)

        type_ = self.type_.value

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "message": message,
                "purge_id": purge_id,
                "type": type_,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        message = d.pop("message")

        purge_id = UUID(d.pop("purge_id"))

        type_ = EntityType(d.pop("type"))

        forced_purge = cls(
            id=id,
            message=message,
            purge_id=purge_id,
            type_=type_,
        )

        forced_purge.additional_properties = d
        return forced_purge

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
