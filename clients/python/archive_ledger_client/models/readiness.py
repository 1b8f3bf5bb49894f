from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.bus_state import BusState
from ..models.clock_status import ClockStatus
from ..models.key_set_status import KeySetStatus
from ..models.part_status import PartStatus
from ..models.readiness_status import ReadinessStatus
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.task_row import TaskRow


T = TypeVar("T", bound="Readiness")


@_attrs_define
class Readiness:
    """What the service needs, part by part."""

    bus: BusState
    """ Whether the bus is there; `stalled`: it is, and takes none of the events that this instance's relay sends.
    Commands are taken all the same: what is due waits in the log. """
    clock: ClockStatus
    """ Whether the machine's clock goes with the time that passes. """
    reasons: list[str]
    """ Why the service is not ready, one sentence each. """
    status: ReadinessStatus
    """ Whether the service can take work. """
    storage: PartStatus
    """ Whether a part of the service is there. """
    store: PartStatus
    """ Whether a part of the service is there. """
    tasks: list[TaskRow]
    """ How each background task gets on. """
    warnings: list[str]
    """ What somebody should look at although the service is ready, one sentence each. """
    writer: PartStatus
    """ Whether a part of the service is there. """
    jwks: KeySetStatus | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.task_row import TaskRow  # noqa: PLC0415

        bus = self.bus.value

        clock = self.clock.value

        reasons = self.reasons

        status = self.status.value

        storage = self.storage.value

        store = self.store.value

        tasks = []
        for tasks_item_data in self.tasks:
            tasks_item = tasks_item_data.to_dict()
            tasks.append(tasks_item)

        warnings = self.warnings

        writer = self.writer.value

        jwks: None | str | Unset
        if isinstance(self.jwks, Unset):
            jwks = UNSET
        elif isinstance(self.jwks, KeySetStatus):
            jwks = self.jwks.value
        else:
            jwks = self.jwks

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bus": bus,
                "clock": clock,
                "reasons": reasons,
                "status": status,
                "storage": storage,
                "store": store,
                "tasks": tasks,
                "warnings": warnings,
                "writer": writer,
            }
        )
        if jwks is not UNSET:
            field_dict["jwks"] = jwks

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.task_row import TaskRow  # noqa: PLC0415

        d = dict(src_dict)
        bus = BusState(d.pop("bus"))

        clock = ClockStatus(d.pop("clock"))

        reasons = cast(list[str], d.pop("reasons"))

        status = ReadinessStatus(d.pop("status"))

        storage = PartStatus(d.pop("storage"))

        store = PartStatus(d.pop("store"))

        tasks = []
        _tasks = d.pop("tasks")
        for tasks_item_data in _tasks:
            tasks_item = TaskRow.from_dict(tasks_item_data)

            tasks.append(tasks_item)

        warnings = cast(list[str], d.pop("warnings"))

        writer = PartStatus(d.pop("writer"))

        def _parse_jwks(data: object) -> KeySetStatus | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                jwks_type_0 = KeySetStatus(data)

                return jwks_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(KeySetStatus | None | Unset, data)

        jwks = _parse_jwks(d.pop("jwks", UNSET))

        readiness = cls(
            bus=bus,
            clock=clock,
            reasons=reasons,
            status=status,
            storage=storage,
            store=store,
            tasks=tasks,
            warnings=warnings,
            writer=writer,
            jwks=jwks,
        )

        readiness.additional_properties = d
        return readiness

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
