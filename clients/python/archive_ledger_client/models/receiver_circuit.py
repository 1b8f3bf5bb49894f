from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.circuit_scope import CircuitScope
from ..models.circuit_state import CircuitState
from ..types import UNSET, Unset

T = TypeVar("T", bound="ReceiverCircuit")


@_attrs_define
class ReceiverCircuit:
    """The circuit of a delivery's receiver."""

    next_probe_at: datetime.datetime | None
    """ From when on a delivery that is due probes it; null when it is closed. """
    scope: CircuitScope | None
    since: datetime.datetime | None
    """ When it was opened, RFC 3339; null when it is closed. """
    state: CircuitState
    """ `closed`: attempts are made when they are due; `open`: none is made before `next_probe_at`, unless a
    delivery is replayed; `half_open`: the next delivery that is due probes whether the receiver answers. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        next_probe_at: None | str
        if isinstance(self.next_probe_at, datetime.datetime):
            next_probe_at = self.next_probe_at.isoformat()
        else:
            next_probe_at = self.next_probe_at

        scope: None | str
        if isinstance(self.scope, CircuitScope):
            scope = self.scope.value
        else:
            scope = self.scope

        since: None | str
        if isinstance(self.since, datetime.datetime):
            since = self.since.isoformat()
        else:
            since = self.since

        state = self.state.value

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "next_probe_at": next_probe_at,
                "scope": scope,
                "since": since,
                "state": state,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_next_probe_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                next_probe_at_type_0 = datetime.datetime.fromisoformat(data)

                return next_probe_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        next_probe_at = _parse_next_probe_at(d.pop("next_probe_at"))

        def _parse_scope(data: object) -> CircuitScope | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                scope_type_0 = CircuitScope(data)

                return scope_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CircuitScope | None, data)

        scope = _parse_scope(d.pop("scope"))

        def _parse_since(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                since_type_0 = datetime.datetime.fromisoformat(data)

                return since_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        since = _parse_since(d.pop("since"))

        state = CircuitState(d.pop("state"))

        receiver_circuit = cls(
            next_probe_at=next_probe_at,
            scope=scope,
            since=since,
            state=state,
        )

        receiver_circuit.additional_properties = d
        return receiver_circuit

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
