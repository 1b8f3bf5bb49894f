from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.entity_type import EntityType
from ...models.error import Error
from ...models.event_name import EventName
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    after: str | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    event: list[EventName] | Unset = UNSET,
    last_event_id: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(last_event_id, Unset):
        headers["Last-Event-ID"] = last_event_id

    params: dict[str, Any] = {}

    params["after"] = after

    json_entity_type: list[str] | Unset = UNSET
    if not isinstance(entity_type, Unset):
        json_entity_type = []
        for entity_type_item_data in entity_type:
            entity_type_item = entity_type_item_data.value
            json_entity_type.append(entity_type_item)

    params["entity_type"] = json_entity_type

    json_event: list[str] | Unset = UNSET
    if not isinstance(event, Unset):
        json_event = []
        for event_item_data in event:
            event_item = event_item_data.value
            json_event.append(event_item)

    params["event"] = json_event

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/events",
        "params": params,
    }

    _kwargs["headers"] = headers
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
    after: str | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    event: list[EventName] | Unset = UNSET,
    last_event_id: str | Unset = UNSET,
) -> Response[Error | str]:
    """Follow the events (Server-Sent Events)

     Every event after a position, as it is on NATS, and those to come.

    Args:
        after (str | Unset):
        entity_type (list[EntityType] | Unset):
        event (list[EventName] | Unset):
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | str]
    """

    kwargs = _get_kwargs(
        after=after,
        entity_type=entity_type,
        event=event,
        last_event_id=last_event_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    event: list[EventName] | Unset = UNSET,
    last_event_id: str | Unset = UNSET,
) -> Error | str | None:
    """Follow the events (Server-Sent Events)

     Every event after a position, as it is on NATS, and those to come.

    Args:
        after (str | Unset):
        entity_type (list[EntityType] | Unset):
        event (list[EventName] | Unset):
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | str
    """

    return sync_detailed(
        client=client,
        after=after,
        entity_type=entity_type,
        event=event,
        last_event_id=last_event_id,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    event: list[EventName] | Unset = UNSET,
    last_event_id: str | Unset = UNSET,
) -> Response[Error | str]:
    """Follow the events (Server-Sent Events)

     Every event after a position, as it is on NATS, and those to come.

    Args:
        after (str | Unset):
        entity_type (list[EntityType] | Unset):
        event (list[EventName] | Unset):
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | str]
    """

    kwargs = _get_kwargs(
        after=after,
        entity_type=entity_type,
        event=event,
        last_event_id=last_event_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    entity_type: list[EntityType] | Unset = UNSET,
    event: list[EventName] | Unset = UNSET,
    last_event_id: str | Unset = UNSET,
) -> Error | str | None:
    """Follow the events (Server-Sent Events)

     Every event after a position, as it is on NATS, and those to come.

    Args:
        after (str | Unset):
        entity_type (list[EntityType] | Unset):
        event (list[EventName] | Unset):
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | str
    """

    return (
        await asyncio_detailed(
            client=client,
            after=after,
            entity_type=entity_type,
            event=event,
            last_event_id=last_event_id,
        )
    ).parsed
