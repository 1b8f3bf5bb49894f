from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.replay_filter import ReplayFilter


T = TypeVar("T", bound="ReplayRequest")


@_attrs_define
class ReplayRequest:
    """What a bulk replay is asked for."""

    dry_run: bool
    """ Count only. Must be given, so that nothing is sent by oversight. """
    cursor: None | str | Unset = UNSET
    """ `next_cursor` of the call before, with the same filter. """
    filter_: None | ReplayFilter | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.replay_filter import ReplayFilter  # noqa: PLC0415

        dry_run = self.dry_run

        cursor: None | str | Unset
        if isinstance(self.cursor, Unset):
            cursor = UNSET
        else:
            cursor = self.cursor

        filter_: dict[str, Any] | None | Unset
        if isinstance(self.filter_, Unset):
            filter_ = UNSET
        elif isinstance(self.filter_, ReplayFilter):
            filter_ = self.filter_.to_dict()
        else:
            filter_ = self.filter_

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "dry_run": dry_run,
            }
        )
        if cursor is not UNSET:
            field_dict["cursor"] = cursor
        if filter_ is not UNSET:
            field_dict["filter"] = filter_

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.replay_filter import ReplayFilter  # noqa: PLC0415

        d = dict(src_dict)
        dry_run = d.pop("dry_run")

        def _parse_cursor(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        cursor = _parse_cursor(d.pop("cursor", UNSET))

        def _parse_filter_(data: object) -> None | ReplayFilter | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                filter_type_0 = ReplayFilter.from_dict(data)

                return filter_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ReplayFilter | Unset, data)

        filter_ = _parse_filter_(d.pop("filter", UNSET))

        replay_request = cls(
            dry_run=dry_run,
            cursor=cursor,
            filter_=filter_,
        )

        return replay_request
