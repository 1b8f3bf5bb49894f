from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.soft_delete_request_metadata_type_0 import (
        SoftDeleteRequestMetadataType0,
    )
    from ..models.typed_parent import TypedParent


T = TypeVar("T", bound="SoftDeleteRequest")


@_attrs_define
class SoftDeleteRequest:
    """The body, as the API page shows it. It is read by [`parse`], which names the field that is wrong."""

    id: str
    """ The entity's id: a UUID, except for archives. """
    name: str
    """ Its name: 1 to 512 characters, none of them a control character. """
    deleted_at: datetime.datetime | None | Unset = UNSET
    """ When it was deleted, RFC 3339; now when absent. Kept to the microsecond. """
    metadata: None | SoftDeleteRequestMetadataType0 | Unset = UNSET
    """ Its metadata: any object of at most 64 KiB, at most 64 levels deep. It comes back as it was given; what
    would not (a duplicate key, an integer beyond 64 bits, a number beyond a double, U+0000) is refused. Numbers
    with a fraction or an exponent are doubles. """
    parent: None | str | TypedParent | Unset = UNSET
    reason: None | str | Unset = UNSET
    """ Why it was deleted: at most 2000 characters, none of them a control character. """
    storage: list[str] | None | Unset = UNSET
    """ Where its objects are: at most 100 URIs below a storage root. """

    def to_dict(self) -> dict[str, Any]:
        from ..models.soft_delete_request_metadata_type_0 import (
            SoftDeleteRequestMetadataType0,  # noqa: PLC0415
        )
        from ..models.typed_parent import TypedParent  # noqa: PLC0415

        id = self.id

        name = self.name

        deleted_at: None | str | Unset
        if isinstance(self.deleted_at, Unset):
            deleted_at = UNSET
        elif isinstance(self.deleted_at, datetime.datetime):
            deleted_at = self.deleted_at.isoformat()
        else:
            deleted_at = self.deleted_at

        metadata: dict[str, Any] | None | Unset
        if isinstance(self.metadata, Unset):
            metadata = UNSET
        elif isinstance(self.metadata, SoftDeleteRequestMetadataType0):
            metadata = self.metadata.to_dict()
        else:
            metadata = self.metadata

        parent: dict[str, Any] | None | str | Unset
        if isinstance(self.parent, Unset):
            parent = UNSET
        elif isinstance(self.parent, TypedParent):
            parent = self.parent.to_dict()
        else:
            parent = self.parent

        reason: None | str | Unset
        if isinstance(self.reason, Unset):
            reason = UNSET
        else:
            reason = self.reason

        storage: list[str] | None | Unset
        if isinstance(self.storage, Unset):
            storage = UNSET
        elif isinstance(self.storage, list):
            storage = self.storage

        else:
            storage = self.storage

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "id": id,
                "name": name,
            }
        )
        if deleted_at is not UNSET:
            field_dict["deleted_at"] = deleted_at
        if metadata is not UNSET:
            field_dict["metadata"] = metadata
        if parent is not UNSET:
            field_dict["parent"] = parent
        if reason is not UNSET:
            field_dict["reason"] = reason
        if storage is not UNSET:
            field_dict["storage"] = storage

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.soft_delete_request_metadata_type_0 import (
            SoftDeleteRequestMetadataType0,  # noqa: PLC0415
        )
        from ..models.typed_parent import TypedParent  # noqa: PLC0415

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        def _parse_deleted_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                deleted_at_type_0 = datetime.datetime.fromisoformat(data)

                return deleted_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        deleted_at = _parse_deleted_at(d.pop("deleted_at", UNSET))

        def _parse_metadata(
            data: object,
        ) -> None | SoftDeleteRequestMetadataType0 | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                metadata_type_0 = SoftDeleteRequestMetadataType0.from_dict(data)

                return metadata_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | SoftDeleteRequestMetadataType0 | Unset, data)

        metadata = _parse_metadata(d.pop("metadata", UNSET))

        def _parse_parent(data: object) -> None | str | TypedParent | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_parent_type_1 = TypedParent.from_dict(data)

                return componentsschemas_parent_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | str | TypedParent | Unset, data)

        parent = _parse_parent(d.pop("parent", UNSET))

        def _parse_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        reason = _parse_reason(d.pop("reason", UNSET))

        def _parse_storage(data: object) -> list[str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                storage_type_0 = cast(list[str], data)

                return storage_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | Unset, data)

        storage = _parse_storage(d.pop("storage", UNSET))

        soft_delete_request = cls(
            id=id,
            name=name,
            deleted_at=deleted_at,
            metadata=metadata,
            parent=parent,
            reason=reason,
            storage=storage,
        )

        return soft_delete_request
