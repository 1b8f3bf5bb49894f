from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="ConsistencyProof")


@_attrs_define
class ConsistencyProof:
    """A consistency proof (RFC 6962, 2.1.2). Hashes are base64."""

    checkpoint: str
    """ The last checkpoint, which covers both. """
    from_: int
    """ The size of the smaller tree. """
    from_root: str
    """ The root of the smaller tree. """
    proof: list[str]
    """ The hashes that connect them. """
    to: int
    """ The size of the larger tree. """
    to_root: str
    """ The root of the larger tree. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        checkpoint = self.checkpoint

        from_ = self.from_

        from_root = self.from_root

        proof = self.proof

        to = self.to

        to_root = self.to_root

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "checkpoint": checkpoint,
                "from": from_,
                "from_root": from_root,
                "proof": proof,
                "to": to,
                "to_root": to_root,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        checkpoint = d.pop("checkpoint")

        from_ = d.pop("from")

        from_root = d.pop("from_root")

        proof = cast(list[str], d.pop("proof"))

        to = d.pop("to")

        to_root = d.pop("to_root")

        consistency_proof = cls(
            checkpoint=checkpoint,
            from_=from_,
            from_root=from_root,
            proof=proof,
            to=to,
            to_root=to_root,
        )

        consistency_proof.additional_properties = d
        return consistency_proof

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
