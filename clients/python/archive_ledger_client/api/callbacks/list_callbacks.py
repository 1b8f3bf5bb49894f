import datetime
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.delivery_page import DeliveryPage
from ...models.delivery_state import DeliveryState
from ...models.entity_type import EntityType
from ...models.error import Error
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    state: DeliveryState | Unset = UNSET,
    host: str | Unset = UNSET,
    entity_type: EntityType | Unset = UNSET,
    entity_id: str | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    until: datetime.datetime | Unset = UNSET,
    limit: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_state: str | Unset = UNSET
    if not isinstance(state, Unset):
        json_state = state.value

    params["state"] = json_state

    params["host"] = host

    json_entity_type: str | Unset = UNSET
    if not isinstance(entity_type, Unset):
        json_entity_type = entity_type.value

    params["entity_type"] = json_entity_type

    params["entity_id"] = entity_id

    json_from_: str | Unset = UNSET
    if not isinstance(from_, Unset):
        json_from_ = from_.isoformat()
    params["from"] = json_from_

    json_until: str | Unset = UNSET
    if not isinstance(until, Unset):
        json_until = until.isoformat()
    params["until"] = json_until

    params["limit"] = limit

    params["cursor"] = cursor

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/admin/callbacks",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> DeliveryPage | Error | None:
    if response.status_code == 200:
        response_200 = DeliveryPage.from_dict(response.json())

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

    if response.status_code == 410:
        response_410 = Error.from_dict(response.json())

        return response_410

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
) -> Response[DeliveryPage | Error]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    state: DeliveryState | Unset = UNSET,
    host: str | Unset = UNSET,
    entity_type: EntityType | Unset = UNSET,
    entity_id: str | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    until: datetime.datetime | Unset = UNSET,
    limit: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
) -> Response[DeliveryPage | Error]:
    """List callback deliveries

     Deliveries of callbacks, newest first.

    Args:
        state (DeliveryState | Unset): Where a delivery stands: `due` (now or later), `delivered`,
            `dead`: given up, until it is replayed, or `superseded`: a failure that was not told
            before the purge succeeded, and is not told any more.
        host (str | Unset): A text: 1 to 262 characters, none of them a control character.
        entity_type (EntityType | Unset): A type of entities.
        entity_id (str | Unset):
        from_ (datetime.datetime | Unset):
        until (datetime.datetime | Unset):
        limit (int | Unset):
        cursor (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[DeliveryPage | Error]
    """

    kwargs = _get_kwargs(
        state=state,
        host=host,
        entity_type=entity_type,
        entity_id=entity_id,
        from_=from_,
        until=until,
        limit=limit,
        cursor=cursor,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    state: DeliveryState | Unset = UNSET,
    host: str | Unset = UNSET,
    entity_type: EntityType | Unset = UNSET,
    entity_id: str | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    until: datetime.datetime | Unset = UNSET,
    limit: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
) -> DeliveryPage | Error | None:
    """List callback deliveries

     Deliveries of callbacks, newest first.

    Args:
        state (DeliveryState | Unset): Where a delivery stands: `due` (now or later), `delivered`,
            `dead`: given up, until it is replayed, or `superseded`: a failure that was not told
            before the purge succeeded, and is not told any more.
        host (str | Unset): A text: 1 to 262 characters, none of them a control character.
        entity_type (EntityType | Unset): A type of entities.
        entity_id (str | Unset):
        from_ (datetime.datetime | Unset):
        until (datetime.datetime | Unset):
        limit (int | Unset):
        cursor (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        DeliveryPage | Error
    """

    return sync_detailed(
        client=client,
        state=state,
        host=host,
        entity_type=entity_type,
        entity_id=entity_id,
        from_=from_,
        until=until,
        limit=limit,
        cursor=cursor,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    state: DeliveryState | Unset = UNSET,
    host: str | Unset = UNSET,
    entity_type: EntityType | Unset = UNSET,
    entity_id: str | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    until: datetime.datetime | Unset = UNSET,
    limit: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
) -> Response[DeliveryPage | Error]:
    """List callback deliveries

     Deliveries of callbacks, newest first.

    Args:
        state (DeliveryState | Unset): Where a delivery stands: `due` (now or later), `delivered`,
            `dead`: given up, until it is replayed, or `superseded`: a failure that was not told
            before the purge succeeded, and is not told any more.
        host (str | Unset): A text: 1 to 262 characters, none of them a control character.
        entity_type (EntityType | Unset): A type of entities.
        entity_id (str | Unset):
        from_ (datetime.datetime | Unset):
        until (datetime.datetime | Unset):
        limit (int | Unset):
        cursor (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[DeliveryPage | Error]
    """

    kwargs = _get_kwargs(
        state=state,
        host=host,
        entity_type=entity_type,
        entity_id=entity_id,
        from_=from_,
        until=until,
        limit=limit,
        cursor=cursor,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    state: DeliveryState | Unset = UNSET,
    host: str | Unset = UNSET,
    entity_type: EntityType | Unset = UNSET,
    entity_id: str | Unset = UNSET,
    from_: datetime.datetime | Unset = UNSET,
    until: datetime.datetime | Unset = UNSET,
    limit: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
) -> DeliveryPage | Error | None:
    """List callback deliveries

     Deliveries of callbacks, newest first.

    Args:
        state (DeliveryState | Unset): Where a delivery stands: `due` (now or later), `delivered`,
            `dead`: given up, until it is replayed, or `superseded`: a failure that was not told
            before the purge succeeded, and is not told any more.
        host (str | Unset): A text: 1 to 262 characters, none of them a control character.
        entity_type (EntityType | Unset): A type of entities.
        entity_id (str | Unset):
        from_ (datetime.datetime | Unset):
        until (datetime.datetime | Unset):
        limit (int | Unset):
        cursor (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        DeliveryPage | Error
    """

    return (
        await asyncio_detailed(
            client=client,
            state=state,
            host=host,
            entity_type=entity_type,
            entity_id=entity_id,
            from_=from_,
            until=until,
            limit=limit,
            cursor=cursor,
        )
    ).parsed
