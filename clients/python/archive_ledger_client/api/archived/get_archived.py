from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.entity import Entity
from ...models.entity_type import EntityType
from ...models.error import Error
from ...types import UNSET, Response, Unset


def _get_kwargs(
    entity_type: EntityType,
    id: str,
    *,
    as_of: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_none_match, Unset):
        headers["If-None-Match"] = if_none_match

    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    params: dict[str, Any] = {}

    params["as_of"] = as_of

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/admin/archived/{entity_type}/{id}".format(
            entity_type=quote(str(entity_type), safe=""),
            id=quote(str(id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Any | Entity | Error | None:
    if response.status_code == 200:
        response_200 = Entity.from_dict(response.json())

        return response_200

    if response.status_code == 304:
        response_304 = cast(Any, None)
        return response_304

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

    if response.status_code == 412:
        response_412 = Error.from_dict(response.json())

        return response_412

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
) -> Response[Any | Entity | Error]:
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
    as_of: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Response[Any | Entity | Error]:
    """Show one entity

     404 for what never existed and for what was purged alike.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        as_of (str | Unset):
        if_none_match (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Entity | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
        as_of=as_of,
        if_none_match=if_none_match,
        if_match=if_match,
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
    as_of: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Any | Entity | Error | None:
    """Show one entity

     404 for what never existed and for what was purged alike.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        as_of (str | Unset):
        if_none_match (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Entity | Error
    """

    return sync_detailed(
        entity_type=entity_type,
        id=id,
        client=client,
        as_of=as_of,
        if_none_match=if_none_match,
        if_match=if_match,
    ).parsed


async def asyncio_detailed(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    as_of: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Response[Any | Entity | Error]:
    """Show one entity

     404 for what never existed and for what was purged alike.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        as_of (str | Unset):
        if_none_match (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Entity | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
        as_of=as_of,
        if_none_match=if_none_match,
        if_match=if_match,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    as_of: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Any | Entity | Error | None:
    """Show one entity

     404 for what never existed and for what was purged alike.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        as_of (str | Unset):
        if_none_match (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Entity | Error
    """

    return (
        await asyncio_detailed(
            entity_type=entity_type,
            id=id,
            client=client,
            as_of=as_of,
            if_none_match=if_none_match,
            if_match=if_match,
        )
    ).parsed
