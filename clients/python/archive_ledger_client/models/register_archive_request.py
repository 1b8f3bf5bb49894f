from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="RegisterArchiveRequest")


@_attrs_define
class RegisterArchiveRequest:
    """The body. Fields that are not named here are ignored, as Onedata does."""

    dataset_id: str
    """ The data set that it preserves: 1 to 128 characters, none of them a control character. """
    space_id: str
    """ The space that it belongs to: 1 to 128 characters, none of them a control character. """
    archive_id: None | str | Unset = UNSET
    """ The archive's id, 1 to 128 of `A-Za-z0-9_-`; made when absent. """
    deleted_callback: None | str | Unset = UNSET
    """ Called when a purge ends, unless the request to delete names another: 1 to 2048 characters, none of them a
    control character. """
    description: None | str | Unset = UNSET
    """ What it is: at most 2000 characters, none of them a control character. """
    storage: list[str] | None | Unset = UNSET
    """ Where its objects are: at most 100 URIs below a storage root. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        dataset_id = self.dataset_id

        space_id = self.space_id

        archive_id: None | str | Unset
        if isinstance(self.archive_id, Unset):
            archive_id = UNSET
        else:
            archive_id = self.archive_id

        deleted_callback: None | str | Unset
        if isinstance(self.deleted_callback, Unset):
            deleted_callback = UNSET
        else:
            deleted_callback = self.deleted_callback

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        storage: list[str] | None | Unset
        if isinstance(self.storage, Unset):
            storage = UNSET
        elif isinstance(self.storage, list):
            storage = self.storage

        else:
            storage = self.storage

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "datasetId": dataset_id,
                "spaceId": space_id,
            }
        )
        if archive_id is not UNSET:
            field_dict["archiveId"] = archive_id
        if deleted_callback is not UNSET:
            field_dict["deletedCallback"] = deleted_callback
        if description is not UNSET:
            field_dict["description"] = description
        if storage is not UNSET:
            field_dict["storage"] = storage

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        dataset_id = d.pop("datasetId")

        space_id = d.pop("spaceId")

        def _parse_archive_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        archive_id = _parse_archive_id(d.pop("archiveId", UNSET))

        def _parse_deleted_callback(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        deleted_callback = _parse_deleted_callback(d.pop("deletedCallback", UNSET))

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

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

        register_archive_request = cls(
            dataset_id=dataset_id,
            space_id=space_id,
            archive_id=archive_id,
            deleted_callback=deleted_callback,
            description=description,
            storage=storage,
        )

        register_archive_request.additional_properties = d
        return register_archive_request

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
