import datetime
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.audit_action import AuditAction
from ...models.audit_outcome import AuditOutcome
from ...models.entity_type import EntityType
from ...models.error import Error
from ...models.export_format import ExportFormat
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    format_: ExportFormat,
    details: bool | Unset = UNSET,
    actor: list[str] | Unset = UNSET,
    action: list[AuditAction] | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    entity_id: list[str] | Unset = UNSET,
    outcome: list[AuditOutcome] | Unset = UNSET,
    request_id: list[str] | Unset = UNSET,
    ip: list[str] | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    to: datetime.datetime | Unset = UNSET,
    pos_from: int | Unset = UNSET,
    pos_to: int | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_format_ = format_.value
    params["format"] = json_format_

    params["details"] = details

    json_actor: list[str] | Unset = UNSET
    if not isinstance(actor, Unset):
        json_actor = actor

    params["actor"] = json_actor

    json_action: list[str] | Unset = UNSET
    if not isinstance(action, Unset):
        json_action = []
        for action_item_data in action:
            action_item = action_item_data.value
            json_action.append(action_item)

    params["action"] = json_action

    json_entity_type: list[str] | Unset = UNSET
    if not isinstance(entity_type, Unset):
        json_entity_type = []
        for entity_type_item_data in entity_type:
            entity_type_item = entity_type_item_data.value
            json_entity_type.append(entity_type_item)

    params["entity_type"] = json_entity_type

    json_entity_id: list[str] | Unset = UNSET
    if not isinstance(entity_id, Unset):
        json_entity_id = entity_id

    params["entity_id"] = json_entity_id

    json_outcome: list[str] | Unset = UNSET
    if not isinstance(outcome, Unset):
        json_outcome = []
        for outcome_item_data in outcome:
            outcome_item = outcome_item_data.value
            json_outcome.append(outcome_item)

    params["outcome"] = json_outcome

    json_request_id: list[str] | Unset = UNSET
    if not isinstance(request_id, Unset):
        json_request_id = request_id

    params["request_id"] = json_request_id

    json_ip: list[str] | Unset = UNSET
    if not isinstance(ip, Unset):
        json_ip = []
        for ip_item_data in ip:
            ip_item: str
            ip_item = ip_item_data
            json_ip.append(ip_item)

    params["ip"] = json_ip

    json_from_: str | Unset = UNSET
    if not isinstance(from_, Unset):
        json_from_ = from_.isoformat()
    params["from"] = json_from_

    json_to: str | Unset = UNSET
    if not isinstance(to, Unset):
        json_to = to.isoformat()
    params["to"] = json_to

    params["pos_from"] = pos_from

    params["pos_to"] = pos_to

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/admin/audit/export",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | str | None:
    if response.status_code == 200:
        response_200 = response.text
        return response_200

    if response.status_code == 400:
        response_400 = Error.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Error.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Error.from_dict(response.json())

        return response_403

    if response.status_code == 408:
        response_408 = Error.from_dict(response.json())

        return response_408

    if response.status_code == 500:
        response_500 = Error.from_dict(response.json())

        return response_500

    if response.status_code == 503:
        response_503 = Error.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Error | str]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    format_: ExportFormat,
    details: bool | Unset = UNSET,
    actor: list[str] | Unset = UNSET,
    action: list[AuditAction] | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    entity_id: list[str] | Unset = UNSET,
    outcome: list[AuditOutcome] | Unset = UNSET,
    request_id: list[str] | Unset = UNSET,
    ip: list[str] | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    to: datetime.datetime | Unset = UNSET,
    pos_from: int | Unset = UNSET,
    pos_to: int | Unset = UNSET,
) -> Response[Error | str]:
    """Export the log's events

     Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the
    same request with it as `pos_to` gives the same bytes again, and `Link` leads to their manifest. An
    export that breaks off is cut off: a whole one ends as HTTP says that it does. Rows that cannot be
    read are left out, and it is cut off at its end; the manifest counts them.

    Args:
        format_ (ExportFormat): The format of an export.
        details (bool | Unset):
        actor (list[str] | Unset):
        action (list[AuditAction] | Unset):
        entity_type (list[EntityType] | Unset):
        entity_id (list[str] | Unset):
        outcome (list[AuditOutcome] | Unset):
        request_id (list[str] | Unset):
        ip (list[str] | Unset):
        from_ (datetime.datetime | Unset):
        to (datetime.datetime | Unset):
        pos_from (int | Unset):
        pos_to (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | str]
    """

    kwargs = _get_kwargs(
        format_=format_,
        details=details,
        actor=actor,
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        outcome=outcome,
        request_id=request_id,
        ip=ip,
        from_=from_,
        to=to,
        pos_from=pos_from,
        pos_to=pos_to,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    format_: ExportFormat,
    details: bool | Unset = UNSET,
    actor: list[str] | Unset = UNSET,
    action: list[AuditAction] | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    entity_id: list[str] | Unset = UNSET,
    outcome: list[AuditOutcome] | Unset = UNSET,
    request_id: list[str] | Unset = UNSET,
    ip: list[str] | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    to: datetime.datetime | Unset = UNSET,
    pos_from: int | Unset = UNSET,
    pos_to: int | Unset = UNSET,
) -> Error | str | None:
    """Export the log's events

     Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the
    same request with it as `pos_to` gives the same bytes again, and `Link` leads to their manifest. An
    export that breaks off is cut off: a whole one ends as HTTP says that it does. Rows that cannot be
    read are left out, and it is cut off at its end; the manifest counts them.

    Args:
        format_ (ExportFormat): The format of an export.
        details (bool | Unset):
        actor (list[str] | Unset):
        action (list[AuditAction] | Unset):
        entity_type (list[EntityType] | Unset):
        entity_id (list[str] | Unset):
        outcome (list[AuditOutcome] | Unset):
        request_id (list[str] | Unset):
        ip (list[str] | Unset):
        from_ (datetime.datetime | Unset):
        to (datetime.datetime | Unset):
        pos_from (int | Unset):
        pos_to (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | str
    """

    return sync_detailed(
        client=client,
        format_=format_,
        details=details,
        actor=actor,
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        outcome=outcome,
        request_id=request_id,
        ip=ip,
        from_=from_,
        to=to,
        pos_from=pos_from,
        pos_to=pos_to,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    format_: ExportFormat,
    details: bool | Unset = UNSET,
    actor: list[str] | Unset = UNSET,
    action: list[AuditAction] | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    entity_id: list[str] | Unset = UNSET,
    outcome: list[AuditOutcome] | Unset = UNSET,
    request_id: list[str] | Unset = UNSET,
    ip: list[str] | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    to: datetime.datetime | Unset = UNSET,
    pos_from: int | Unset = UNSET,
    pos_to: int | Unset = UNSET,
) -> Response[Error | str]:
    """Export the log's events

     Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the
    same request with it as `pos_to` gives the same bytes again, and `Link` leads to their manifest. An
    export that breaks off is cut off: a whole one ends as HTTP says that it does. Rows that cannot be
    read are left out, and it is cut off at its end; the manifest counts them.

    Args:
        format_ (ExportFormat): The format of an export.
        details (bool | Unset):
        actor (list[str] | Unset):
        action (list[AuditAction] | Unset):
        entity_type (list[EntityType] | Unset):
        entity_id (list[str] | Unset):
        outcome (list[AuditOutcome] | Unset):
        request_id (list[str] | Unset):
        ip (list[str] | Unset):
        from_ (datetime.datetime | Unset):
        to (datetime.datetime | Unset):
        pos_from (int | Unset):
        pos_to (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | str]
    """

    kwargs = _get_kwargs(
        format_=format_,
        details=details,
        actor=actor,
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        outcome=outcome,
        request_id=request_id,
        ip=ip,
        from_=from_,
        to=to,
        pos_from=pos_from,
        pos_to=pos_to,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    format_: ExportFormat,
    details: bool | Unset = UNSET,
    actor: list[str] | Unset = UNSET,
    action: list[AuditAction] | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    entity_id: list[str] | Unset = UNSET,
    outcome: list[AuditOutcome] | Unset = UNSET,
    request_id: list[str] | Unset = UNSET,
    ip: list[str] | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    to: datetime.datetime | Unset = UNSET,
    pos_from: int | Unset = UNSET,
    pos_to: int | Unset = UNSET,
) -> Error | str | None:
    """Export the log's events

     Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the
    same request with it as `pos_to` gives the same bytes again, and `Link` leads to their manifest. An
    export that breaks off is cut off: a whole one ends as HTTP says that it does. Rows that cannot be
    read are left out, and it is cut off at its end; the manifest counts them.

    Args:
        format_ (ExportFormat): The format of an export.
        details (bool | Unset):
        actor (list[str] | Unset):
        action (list[AuditAction] | Unset):
        entity_type (list[EntityType] | Unset):
        entity_id (list[str] | Unset):
        outcome (list[AuditOutcome] | Unset):
        request_id (list[str] | Unset):
        ip (list[str] | Unset):
        from_ (datetime.datetime | Unset):
        to (datetime.datetime | Unset):
        pos_from (int | Unset):
        pos_to (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | str
    """

    return (
        await asyncio_detailed(
            client=client,
            format_=format_,
            details=details,
            actor=actor,
            action=action,
            entity_type=entity_type,
            entity_id=entity_id,
            outcome=outcome,
            request_id=request_id,
            ip=ip,
            from_=from_,
            to=to,
            pos_from=pos_from,
            pos_to=pos_to,
        )
    ).parsed
