from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entity_state import EntityState
from ..models.entity_type import EntityType
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.as_of import AsOf
    from ..models.entity_metadata_type_0 import EntityMetadataType0
    from ..models.purge_so_far import PurgeSoFar
    from ..models.storage_sharer import StorageSharer
    from ..models.typed_parent import TypedParent


T = TypeVar("T", bound="Entity")


@_attrs_define
class Entity:
    """One entity: the list item's fields, and everything else that the ledger knows."""

    created_at: datetime.datetime | None
    """ When the ledger first recorded it; null only where `unreadable` is true. """
    deleted_at: datetime.datetime | None
    """ When it was deleted. """
    deleted_by: None | str
    """ Who recorded the deletion. """
    deletion_id: None | UUID
    """ The deletion that stands. """
    id: str
    """ The entity's id. """
    metadata: EntityMetadataType0 | None
    """ Its metadata, as of the deletion that stands. """
    name: None | str
    """ Its name, as of the deletion that stands. """
    parent: None | TypedParent
    purge_id: None | UUID
    """ The latest purge. """
    reason: None | str
    """ Why it was deleted. """
    state: EntityState
    """ Where an entity stands: `unknown` is before the ledger heard of it, `purged` is for good. """
    storage: list[str]
    """ Where its objects are. """
    type_: EntityType
    """ A type of entities. """
    updated_at: datetime.datetime | None
    """ When the ledger last recorded something of it; null only where `unreadable` is true. """
    version: int
    """ The entity's version; its `ETag` begins with it. """
    as_of: AsOf | None | Unset = UNSET
    purge: PurgeSoFar | Unset = UNSET
    """ What has become of a purge that is owed. """
    storage_shared: bool | None | Unset = UNSET
    """ True when others who are not purged name storage in, around or at the same places: it is not deleted as long
    as any of
    them is not being purged too. Absent when nobody does, and as of a point in the past; null while that is still
    being
    found out after an upgrade. """
    storage_shared_with: list[StorageSharer] | Unset = UNSET
    """ Some of those others, 20 at the most; absent when there are none. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: something sealed of it cannot be opened, or a time of it is none, and is left out.
    """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.as_of import AsOf  # noqa: PLC0415
        from ..models.entity_metadata_type_0 import EntityMetadataType0  # noqa: PLC0415
        from ..models.purge_so_far import PurgeSoFar  # noqa: PLC0415
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415
        from ..models.typed_parent import TypedParent  # noqa: PLC0415

        created_at: None | str
        if isinstance(self.created_at, datetime.datetime):
            created_at = self.created_at.isoformat()
        else:
            created_at = self.created_at

        deleted_at: None | str
        if isinstance(self.deleted_at, datetime.datetime):
            deleted_at = self.deleted_at.isoformat()
        else:
            deleted_at = self.deleted_at

        deleted_by: None | str
        deleted_by = self.deleted_by

        deletion_id: None | str
        if isinstance(self.deletion_id, UUID):
            deletion_id = str(self.deletion_id)
        else:
            deletion_id = self.deletion_id

        id = self.id

        metadata: dict[str, Any] | None
        if isinstance(self.metadata, EntityMetadataType0):
            metadata = self.metadata.to_dict()
        else:
            metadata = self.metadata

        name: None | str
        name = self.name

        parent: dict[str, Any] | None
        if isinstance(self.parent, TypedParent):
            parent = self.parent.to_dict()
        else:
            parent = self.parent

        purge_id: None | str
        if isinstance(self.purge_id, UUID):
            purge_id = str(self.purge_id)
        else:
            purge_id = self.purge_id

        reason: None | str
        reason = self.reason

        state = self.state.value

        storage = self.storage

        type_ = self.type_.value

        updated_at: None | str
        if isinstance(self.updated_at, datetime.datetime):
            updated_at = self.updated_at.isoformat()
        else:
            updated_at = self.updated_at

        version = self.version

        as_of: dict[str, Any] | None | Unset
        if isinstance(self.as_of, Unset):
            as_of = UNSET
        elif isinstance(self.as_of, AsOf):
            as_of = self.as_of.to_dict()
        else:
            as_of = self.as_of

        purge: dict[str, Any] | Unset = UNSET
        if not isinstance(self.purge, Unset):
            purge = self.purge.to_dict()

        storage_shared: bool | None | Unset
        if isinstance(self.storage_shared, Unset):
            storage_shared = UNSET
        else:
            storage_shared = self.storage_shared

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
                "created_at": created_at,
                "deleted_at": deleted_at,
                "deleted_by": deleted_by,
                "deletion_id": deletion_id,
                "id": id,
                "metadata": metadata,
                "name": name,
                "parent": parent,
                "purge_id": purge_id,
                "reason": reason,
                "state": state,
                "storage": storage,
                "type": type_,
                "updated_at": updated_at,
                "version": version,
            }
        )
        if as_of is not UNSET:
            field_dict["as_of"] = as_of
        if purge is not UNSET:
            field_dict["purge"] = purge
        if storage_shared is not UNSET:
            field_dict["storage_shared"] = storage_shared
        if storage_shared_with is not UNSET:
            field_dict["storage_shared_with"] = storage_shared_with
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.as_of import AsOf  # noqa: PLC0415
        from ..models.entity_metadata_type_0 import EntityMetadataType0  # noqa: PLC0415
        from ..models.purge_so_far import PurgeSoFar  # noqa: PLC0415
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415
        from ..models.typed_parent import TypedParent  # noqa: PLC0415

        d = dict(src_dict)

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

        def _parse_deleted_by(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        deleted_by = _parse_deleted_by(d.pop("deleted_by"))

        def _parse_deletion_id(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                deletion_id_type_0 = UUID(data)

                return deletion_id_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        deletion_id = _parse_deletion_id(d.pop("deletion_id"))

        id = d.pop("id")

        def _parse_metadata(data: object) -> EntityMetadataType0 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                metadata_type_0 = EntityMetadataType0.from_dict(data)

                return metadata_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(EntityMetadataType0 | None, data)

        metadata = _parse_metadata(d.pop("metadata"))

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        def _parse_parent(data: object) -> None | TypedParent:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                parent_type_0 = TypedParent.from_dict(data)

                return parent_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | TypedParent, data)

        parent = _parse_parent(d.pop("parent"))

        def _parse_purge_id(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                purge_id_type_0 = UUID(data)

                return purge_id_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        purge_id = _parse_purge_id(d.pop("purge_id"))

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        state = EntityState(d.pop("state"))

        storage = cast(list[str], d.pop("storage"))

        type_ = EntityType(d.pop("type"))

        def _parse_updated_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                updated_at_type_0 = datetime.datetime.fromisoformat(data)

                return updated_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        updated_at = _parse_updated_at(d.pop("updated_at"))

        version = d.pop("version")

        def _parse_as_of(data: object) -> AsOf | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                as_of_type_0 = AsOf.from_dict(data)

                return as_of_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AsOf | None | Unset, data)

        as_of = _parse_as_of(d.pop("as_of", UNSET))

        _purge = d.pop("purge", UNSET)
        purge: PurgeSoFar | Unset
        if isinstance(_purge, Unset):
            purge = UNSET
        else:
            purge = PurgeSoFar.from_dict(_purge)

        def _parse_storage_shared(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        storage_shared = _parse_storage_shared(d.pop("storage_shared", UNSET))

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

        entity = cls(
            created_at=created_at,
            deleted_at=deleted_at,
            deleted_by=deleted_by,
            deletion_id=deletion_id,
            id=id,
            metadata=metadata,
            name=name,
            parent=parent,
            purge_id=purge_id,
            reason=reason,
            state=state,
            storage=storage,
            type_=type_,
            updated_at=updated_at,
            version=version,
            as_of=as_of,
            purge=purge,
            storage_shared=storage_shared,
            storage_shared_with=storage_shared_with,
            unreadable=unreadable,
        )

        entity.additional_properties = d
        return entity

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
