from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="ExportManifest")


@_attrs_define
class ExportManifest:
    """What an export came to: deterministic, as the export is."""

    bytes_: int
    """ The length of the export, in bytes. """
    checkpoint: str
    """ The first checkpoint that covers the snapshot, a signed note. """
    count: int
    """ How many events were exported. """
    encoding: str
    """ `ndjson`, `csv` or `parquet`. """
    first_position: int | None
    """ The position of the first one. """
    format_: str
    """ `archive-ledger/export/v1`. """
    last_position: int | None
    """ The position of the last one. """
    ledger: int
    """ The ledger's number: positions are its own, as a fork uses some of them again. """
    pos_to: int
    """ The last position of the snapshot: nothing behind it was looked at. """
    query: str
    """ The query that gives the same bytes again. """
    sha256: str
    """ The SHA-256 of the export, in hex. """
    vkey: str
    """ The key that it is signed with. To trust it, compare it with the one that you got by another way. """
    unreadable: int | Unset = UNSET
    """ How many rows cannot be read: they are left out, and whether the filter asks for them nobody can tell.
    Absent when there are none. """
    unreadable_positions: list[int] | Unset = UNSET
    """ The positions of the first hundred of them. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        bytes_ = self.bytes_

        checkpoint = self.checkpoint

        count = self.count

        encoding = self.encoding

        first_position: int | None
        first_position = self.first_position

        format_ = self.format_

        last_position: int | None
        last_position = self.last_position

        ledger = self.ledger

        pos_to = self.pos_to

        query = self.query

        sha256 = self.sha256

        vkey = self.vkey

        unreadable = self.unreadable

        unreadable_positions: list[int] | Unset = UNSET
        if not isinstance(self.unreadable_positions, Unset):
            unreadable_positions = self.unreadable_positions

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bytes": bytes_,
                "checkpoint": checkpoint,
                "count": count,
                "encoding": encoding,
                "first_position": first_position,
                "format": format_,
                "last_position": last_position,
                "ledger": ledger,
                "pos_to": pos_to,
                "query": query,
                "sha256": sha256,
                "vkey": vkey,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable
        if unreadable_positions is not UNSET:
            field_dict["unreadable_positions"] = unreadable_positions

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        bytes_ = d.pop("bytes")

        checkpoint = d.pop("checkpoint")

        count = d.pop("count")

        encoding = d.pop("encoding")

        def _parse_first_position(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        first_position = _parse_first_position(d.pop("first_position"))

        format_ = d.pop("format")

        def _parse_last_position(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        last_position = _parse_last_position(d.pop("last_position"))

        ledger = d.pop("ledger")

        pos_to = d.pop("pos_to")

        query = d.pop("query")

        sha256 = d.pop("sha256")

        vkey = d.pop("vkey")

        unreadable = d.pop("unreadable", UNSET)

        unreadable_positions = cast(list[int], d.pop("unreadable_positions", UNSET))

        export_manifest = cls(
            bytes_=bytes_,
            checkpoint=checkpoint,
            count=count,
            encoding=encoding,
            first_position=first_position,
            format_=format_,
            last_position=last_position,
            ledger=ledger,
            pos_to=pos_to,
            query=query,
            sha256=sha256,
            vkey=vkey,
            unreadable=unreadable,
            unreadable_positions=unreadable_positions,
        )

        export_manifest.additional_properties = d
        return export_manifest

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
