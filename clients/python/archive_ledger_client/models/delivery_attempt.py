from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.attempt_outcome import AttemptOutcome
from ..types import UNSET, Unset

T = TypeVar("T", bound="DeliveryAttempt")


@_attrs_define
class DeliveryAttempt:
    """One attempt."""

    body: str
    """ The first 16 KiB of the answer; bytes that are no UTF-8 are replaced. """
    body_truncated: bool
    """ Whether the answer was longer, or broke off. """
    duration_ms: int | None
    """ How long it took, in milliseconds. """
    error: None | str
    """ What went wrong, as a short class. """
    number: int
    """ Its number, from 1. """
    outcome: AttemptOutcome | None
    started_at: datetime.datetime | None
    """ When it was begun, RFC 3339. """
    status: int | None
    """ The answer's status. """
    unreadable: bool | Unset = UNSET
    """ Only where it is true: the attempt's row cannot be read; all else is empty, null or 0. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        body = self.body

        body_truncated = self.body_truncated

        duration_ms: int | None
        duration_ms = self.duration_ms

        error: None | str
        error = self.error

        number = self.number

        outcome: None | str
        if isinstance(self.outcome, AttemptOutcome):
            outcome = self.outcome.value
        else:
            outcome = self.outcome

        started_at: None | str
        if isinstance(self.started_at, datetime.datetime):
            started_at = self.started_at.isoformat()
        else:
            started_at = self.started_at

        status: int | None
        status = self.status

        unreadable = self.unreadable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "body": body,
                "body_truncated": body_truncated,
                "duration_ms": duration_ms,
                "error": error,
                "number": number,
                "outcome": outcome,
                "started_at": started_at,
                "status": status,
            }
        )
        if unreadable is not UNSET:
            field_dict["unreadable"] = unreadable

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        body = d.pop("body")

        body_truncated = d.pop("body_truncated")

        def _parse_duration_ms(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        duration_ms = _parse_duration_ms(d.pop("duration_ms"))

        def _parse_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        error = _parse_error(d.pop("error"))

        number = d.pop("number")

        def _parse_outcome(data: object) -> AttemptOutcome | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                outcome_type_0 = AttemptOutcome(data)

                return outcome_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AttemptOutcome | None, data)

        outcome = _parse_outcome(d.pop("outcome"))

        def _parse_started_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                started_at_type_0 = datetime.datetime.fromisoformat(data)

                return started_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        started_at = _parse_started_at(d.pop("started_at"))

        def _parse_status(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        status = _parse_status(d.pop("status"))

        unreadable = d.pop("unreadable", UNSET)

        delivery_attempt = cls(
            body=body,
            body_truncated=body_truncated,
            duration_ms=duration_ms,
            error=error,
            number=number,
            outcome=outcome,
            started_at=started_at,
            status=status,
            unreadable=unreadable,
        )

        delivery_attempt.additional_properties = d
        return delivery_attempt

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
