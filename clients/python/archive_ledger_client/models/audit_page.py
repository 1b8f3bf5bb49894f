from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.audit_item import AuditItem
    from ..models.audit_snapshot import AuditSnapshot


T = TypeVar("T", bound="AuditPage")


@_attrs_define
class AuditPage:
    """A page of the audit."""

    checkpoint: None | str
    """ The last signed checkpoint, if it covers the snapshot's position; it does not cover attempts. """
    complete: bool
    """ Whether nothing that matches is left within the snapshot, in this direction. A page ends after a bounded
    amount of work:
    while this is false, go on with `next_cursor`, even where there are few items or none. """
    items: list[AuditItem]
    """ The lines, by position, then sequence. """
    next_cursor: None | str
    """ What to give as `cursor` for the next page, with the same filters and order; null when complete. """
    snapshot: AuditSnapshot
    """ What a walk stays within. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.audit_item import AuditItem  # noqa: PLC0415
        from ..models.audit_snapshot import AuditSnapshot  # noqa: PLC0415

        checkpoint: None | str
        checkpoint = self.checkpoint

        complete = self.complete

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        next_cursor: None | str
        next_cursor = self.next_cursor

        snapshot = self.snapshot.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "checkpoint": checkpoint,
                "complete": complete,
                "items": items,
                "next_cursor": next_cursor,
                "snapshot": snapshot,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.audit_item import AuditItem  # noqa: PLC0415
        from ..models.audit_snapshot import AuditSnapshot  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_checkpoint(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        checkpoint = _parse_checkpoint(d.pop("checkpoint"))

        complete = d.pop("complete")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = AuditItem.from_dict(items_item_data)

            items.append(items_item)

        def _parse_next_cursor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        next_cursor = _parse_next_cursor(d.pop("next_cursor"))

        snapshot = AuditSnapshot.from_dict(d.pop("snapshot"))

        audit_page = cls(
            checkpoint=checkpoint,
            complete=complete,
            items=items,
            next_cursor=next_cursor,
            snapshot=snapshot,
        )

        audit_page.additional_properties = d
        return audit_page

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
