from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error import Error
from ...models.force_purge_request import ForcePurgeRequest
from ...models.forced_purge import ForcedPurge
from ...types import UNSET, Response, Unset


def _get_kwargs(
    purge_id: UUID,
    *,
    body: ForcePurgeRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["Idempotency-Key"] = idempotency_key

    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    if not isinstance(if_none_match, Unset):
        headers["If-None-Match"] = if_none_match

    if not isinstance(x_reason_code, Unset):
        headers["X-Reason-Code"] = x_reason_code

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/admin/purges/{purge_id}/force".format(
            purge_id=quote(str(purge_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | ForcedPurge | None:
    if response.status_code == 200:
        response_200 = ForcedPurge.from_dict(response.json())

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

    if response.status_code == 404:
        response_404 = Error.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Error.from_dict(response.json())

        return response_408

    if response.status_code == 409:
        response_409 = Error.from_dict(response.json())

        return response_409

    if response.status_code == 412:
        response_412 = Error.from_dict(response.json())

        return response_412

    if response.status_code == 413:
        response_413 = Error.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Error.from_dict(response.json())

        return response_415

    if response.status_code == 422:
        response_422 = Error.from_dict(response.json())

        return response_422

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
) -> Response[Error | ForcedPurge]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    purge_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ForcePurgeRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | ForcedPurge]:
    """Give up what a purge still owes

     Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its
    event `purge_forced` holds who, why and what was given up.

    Args:
        purge_id (UUID):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (ForcePurgeRequest): Why a purge is forced.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | ForcedPurge]
    """

    kwargs = _get_kwargs(
        purge_id=purge_id,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    purge_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ForcePurgeRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | ForcedPurge | None:
    """Give up what a purge still owes

     Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its
    event `purge_forced` holds who, why and what was given up.

    Args:
        purge_id (UUID):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (ForcePurgeRequest): Why a purge is forced.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | ForcedPurge
    """

    return sync_detailed(
        purge_id=purge_id,
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    ).parsed


async def asyncio_detailed(
    purge_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ForcePurgeRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | ForcedPurge]:
    """Give up what a purge still owes

     Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its
    event `purge_forced` holds who, why and what was given up.

    Args:
        purge_id (UUID):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (ForcePurgeRequest): Why a purge is forced.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | ForcedPurge]
    """

    kwargs = _get_kwargs(
        purge_id=purge_id,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    purge_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ForcePurgeRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | ForcedPurge | None:
    """Give up what a purge still owes

     Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its
    event `purge_forced` holds who, why and what was given up.

    Args:
        purge_id (UUID):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (ForcePurgeRequest): Why a purge is forced.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | ForcedPurge
    """

    return (
        await asyncio_detailed(
            purge_id=purge_id,
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            if_match=if_match,
            if_none_match=if_none_match,
            x_reason_code=x_reason_code,
        )
    ).parsed
