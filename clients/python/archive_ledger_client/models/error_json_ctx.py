from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generator, TextIO, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="ErrorJsonCtx")


@_attrs_define
class ErrorJsonCtx:
    """Where an error comes from (seed 004, `ErrorJsonCtx`)."""

    line: int
    module: str
    onedata_errors_revision: str
    service: str
    service_build_version: str
    service_domain: str
    service_id: str
    service_release_version: str
    timestamp: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        line = self.line

        module = self.module

        onedata_errors_revision = self.onedata_errors_revision

        service = self.service

        service_build_version = self.service_build_version

        service_domain = self.service_domain

        service_id = self.service_id

        service_release_version = self.service_release_version

        timestamp = self.timestamp

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "line": line,
                "module": module,
                "onedataErrorsRevision": onedata_errors_revision,
                "service": service,
                "serviceBuildVersion": service_build_version,
                "serviceDomain": service_domain,
                "serviceId": service_id,
                "serviceReleaseVersion": service_release_version,
                "timestamp": timestamp,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        line = d.pop("line")

        module = d.pop("module")

        onedata_errors_revision = d.pop("onedataErrorsRevision")

        service = d.pop("service")

        service_build_version = d.pop("serviceBuildVersion")

        service_domain = d.pop("serviceDomain")

        service_id = d.pop("serviceId")

        service_release_version = d.pop("serviceReleaseVersion")

        timestamp = d.pop("timestamp")

        error_json_ctx = cls(
            line=line,
            module=module,
            onedata_errors_revision=onedata_errors_revision,
            service=service,
            service_build_version=service_build_version,
            service_domain=service_domain,
            service_id=service_id,
            service_release_version=service_release_version,
            timestamp=timestamp,
        )

        error_json_ctx.additional_properties = d
        return error_json_ctx

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
