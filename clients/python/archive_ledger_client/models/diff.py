from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.diff_change import DiffChange
    from ..models.diff_side import DiffSide


T = TypeVar("T", bound="Diff")


@_attrs_define
class Diff:
    """What changed."""

    changes: list[DiffChange]
    """ The fields that differ, by name. """
    erased: bool
    """ Whether name, metadata, reason and storage are gone for good: nothing is said of them then. """
    from_: DiffSide
    """ One of the two versions. """
    to: DiffSide
    """ One of the two versions. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: something sealed cannot be opened at one of the two, and nothing is said of it. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.diff_change import DiffChange  # noqa: PLC0415
        from ..models.diff_side import DiffSide  # noqa: PLC0415

        changes = []
        for changes_item_data in self.changes:
            changes_item = changes_item_data.to_dict()
            changes.append(changes_item)

        erased = self.erased

        from_ = self.from_.to_dict()

        to = self.to.to_dict()

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "changes": changes,
                "erased": erased,
                "from": from_,
                "to": to,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.diff_change import DiffChange  # noqa: PLC0415
        from ..models.diff_side import DiffSide  # noqa: PLC0415

        d = dict(src_dict)
        changes = []
        _changes = d.pop("changes")
        for changes_item_data in _changes:
            changes_item = DiffChange.from_dict(changes_item_data)

            changes.append(changes_item)

        erased = d.pop("erased")

        from_ = DiffSide.from_dict(d.pop("from"))

        to = DiffSide.from_dict(d.pop("to"))

        unreadable = d.pop("unreadable", UNSET)

        diff = cls(
            changes=changes,
            erased=erased,
            from_=from_,
            to=to,
            unreadable=unreadable,
        )

        diff.additional_properties = d
        return diff

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
