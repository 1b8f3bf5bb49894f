from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="ForcePurgeRequest")


@_attrs_define
class ForcePurgeRequest:
    """Why a purge is forced."""

    reason: str
    """ Why what is still owed is given up, kept sealed, and shown in the entity's history: not only spaces: 1 to
    2000 characters, none of them a control character. """

    def to_dict(self) -> dict[str, Any]:
        reason = self.reason

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "reason": reason,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        reason = d.pop("reason")

        force_purge_request = cls(
            reason=reason,
        )

        return force_purge_request
