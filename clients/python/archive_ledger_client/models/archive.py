from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.archive_state import ArchiveState
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.storage_sharer import StorageSharer


T = TypeVar("T", bound="Archive")


@_attrs_define
class Archive:
    """An archive, with Onedata's field names."""

    archive_id: str
    """ The archive's id. """
    creation_time: int
    """ When it was registered, in seconds since 1970 UTC. """
    dataset_id: None | str
    """ The data set that it preserves. """
    description: None | str
    """ What it is. """
    space_id: None | str
    """ The space that it belongs to. """
    state: ArchiveState
    """ Where an archive stands, in Onedata's words where it has one. """
    storage: list[str]
    """ Where its objects are. """
    failed_at: list[str] | Unset = UNSET
    """ The objects or folders that its purge failed at, or the places where it could not list; without any
    encoding. Absent where
    none did. """
    storage_shared: bool | None | Unset = UNSET
    """ True when others who are not purged name storage in, around or at the same places: it is not deleted as long
    as any of
    them is not being purged too. Absent when nobody does; null while that is still being found out after an
    upgrade. """
    storage_shared_with: list[StorageSharer] | Unset = UNSET
    """ Some of those others that the caller may see, 20 at the most; absent when there are none. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: description or storage cannot be opened, and are left out. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415

        archive_id = self.archive_id

        creation_time = self.creation_time

        dataset_id: None | str
        dataset_id = self.dataset_id

        description: None | str
        description = self.description

        space_id: None | str
        space_id = self.space_id

        state = self.state.value

        storage = self.storage

        failed_at: list[str] | Unset = UNSET
        if not isinstance(self.failed_at, Unset):
            failed_at = self.failed_at

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
                "archiveId": archive_id,
                "creationTime": creation_time,
                "datasetId": dataset_id,
                "description": description,
                "spaceId": space_id,
                "state": state,
                "storage": storage,
            }
        )
        if failed_at is not UNSET:
            field_dict["failedAt"] = failed_at
        if storage_shared is not UNSET:
            field_dict["storage_shared"] = storage_shared
        if storage_shared_with is not UNSET:
            field_dict["storage_shared_with"] = storage_shared_with
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.storage_sharer import StorageSharer  # noqa: PLC0415

        d = dict(src_dict)
        archive_id = d.pop("archiveId")

        creation_time = d.pop("creationTime")

        def _parse_dataset_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        dataset_id = _parse_dataset_id(d.pop("datasetId"))

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        def _parse_space_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        space_id = _parse_space_id(d.pop("spaceId"))

        state = ArchiveState(d.pop("state"))

        storage = cast(list[str], d.pop("storage"))

        failed_at = cast(list[str], d.pop("failedAt", UNSET))

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

        archive = cls(
            archive_id=archive_id,
            creation_time=creation_time,
            dataset_id=dataset_id,
            description=description,
            space_id=space_id,
            state=state,
            storage=storage,
            failed_at=failed_at,
            storage_shared=storage_shared,
            storage_shared_with=storage_shared_with,
            unreadable=unreadable,
        )

        archive.additional_properties = d
        return archive

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
