from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.entity_type import EntityType
from ...models.error import Error
from ...models.message import Message
from ...models.purge_request import PurgeRequest
from ...types import UNSET, Response, Unset


def _get_kwargs(
    entity_type: EntityType,
    id: str,
    *,
    body: PurgeRequest | Unset = UNSET,
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
        "method": "delete",
        "url": "/api/admin/archived/{entity_type}/{id}/purge".format(
            entity_type=quote(str(entity_type), safe=""),
            id=quote(str(id), safe=""),
        ),
    }

    if not isinstance(body, Unset):
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | Message | None:
    if response.status_code == 200:
        response_200 = Message.from_dict(response.json())

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
) -> Response[Error | Message]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    body: PurgeRequest | Unset = UNSET,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | Message]:
    """Purge an entity for good

     200 once the purge is committed to: from then on nothing can restore the entity. Its objects are
    removed from storage behind the answer.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (PurgeRequest | Unset): The body, which may be left out.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | Message]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
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
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    body: PurgeRequest | Unset = UNSET,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | Message | None:
    """Purge an entity for good

     200 once the purge is committed to: from then on nothing can restore the entity. Its objects are
    removed from storage behind the answer.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (PurgeRequest | Unset): The body, which may be left out.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | Message
    """

    return sync_detailed(
        entity_type=entity_type,
        id=id,
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    ).parsed


async def asyncio_detailed(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    body: PurgeRequest | Unset = UNSET,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | Message]:
    """Purge an entity for good

     200 once the purge is committed to: from then on nothing can restore the entity. Its objects are
    removed from storage behind the answer.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (PurgeRequest | Unset): The body, which may be left out.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | Message]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    body: PurgeRequest | Unset = UNSET,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | Message | None:
    """Purge an entity for good

     200 once the purge is committed to: from then on nothing can restore the entity. Its objects are
    removed from storage behind the answer.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (PurgeRequest | Unset): The body, which may be left out.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | Message
    """

    return (
        await asyncio_detailed(
            entity_type=entity_type,
            id=id,
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            if_match=if_match,
            if_none_match=if_none_match,
            x_reason_code=x_reason_code,
        )
    ).parsed
