from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entity_type import EntityType
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.archived_item_metadata import ArchivedItemMetadata


T = TypeVar("T", bound="ArchivedItem")


@_attrs_define
class ArchivedItem:
    """An item of the archived list: exactly the fields of seed 000, and one more on what cannot be opened."""

    deleted_at: datetime.datetime | None
    """ When the entity was deleted, RFC 3339; null only where `unreadable` is true. """
    id: str
    """ The entity's id. """
    metadata: ArchivedItemMetadata
    """ The entity's metadata, as it was given. """
    name: None | str
    """ The entity's name; null only where `unreadable` is true. """
    type_: EntityType
    """ A type of entities. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: name and metadata cannot be opened, because their key is gone or they were damaged.
    Where the row itself
    was damaged, its time is null as well, and its id may be empty. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.archived_item_metadata import ArchivedItemMetadata  # noqa: PLC0415

        deleted_at: None | str
        if isinstance(self.deleted_at, datetime.datetime):
            deleted_at = self.deleted_at.isoformat()
        else:
            deleted_at = self.deleted_at

        id = self.id

        metadata = self.metadata.to_dict()

        name: None | str
        name = self.name

        type_ = self.type_.value

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "deleted_at": deleted_at,
                "id": id,
                "metadata": metadata,
                "name": name,
                "type": type_,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.archived_item_metadata import ArchivedItemMetadata  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_deleted_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                deleted_at_type_0 = datetime.datetime.fromisoformat(data)

                return deleted_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        deleted_at = _parse_deleted_at(d.pop("deleted_at"))

        id = d.pop("id")

        metadata = ArchivedItemMetadata.from_dict(d.pop("metadata"))

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        type_ = EntityType(d.pop("type"))

        unreadable = d.pop("unreadable", UNSET)

        archived_item = cls(
            deleted_at=deleted_at,
            id=id,
            metadata=metadata,
            name=name,
            type_=type_,
            unreadable=unreadable,
        )

        archived_item.additional_properties = d
        return archived_item

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
