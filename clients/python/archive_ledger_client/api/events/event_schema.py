from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error import Error
from ...models.event_name import EventName
from ...models.event_schema_response_200 import EventSchemaResponse200
from ...types import UNSET, Response


def _get_kwargs(
    event: EventName,
    file: str,
) -> dict[str, Any]:

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/schemas/events/{event}/{file}".format(
            event=quote(str(event), safe=""),
            file=quote(str(file), safe=""),
        ),
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | EventSchemaResponse200 | None:
    if response.status_code == 200:
        response_200 = EventSchemaResponse200.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Error.from_dict(response.json())

        return response_400

    if response.status_code == 404:
        response_404 = Error.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Error.from_dict(response.json())

        return response_408

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Error | EventSchemaResponse200]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    event: EventName,
    file: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[Error | EventSchemaResponse200]:
    """The JSON Schema of an event

     The JSON Schema (2020-12) of one event, as it is on NATS and in `GET /api/events`:
    `/schemas/events/purged/1.json` is of `archive.purged.v1`.

    Args:
        event (EventName): What can happen to an entity.
        file (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | EventSchemaResponse200]
    """

    kwargs = _get_kwargs(
        event=event,
        file=file,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    event: EventName,
    file: str,
    *,
    client: AuthenticatedClient | Client,
) -> Error | EventSchemaResponse200 | None:
    """The JSON Schema of an event

     The JSON Schema (2020-12) of one event, as it is on NATS and in `GET /api/events`:
    `/schemas/events/purged/1.json` is of `archive.purged.v1`.

    Args:
        event (EventName): What can happen to an entity.
        file (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | EventSchemaResponse200
    """

    return sync_detailed(
        event=event,
        file=file,
        client=client,
    ).parsed


async def asyncio_detailed(
    event: EventName,
    file: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[Error | EventSchemaResponse200]:
    """The JSON Schema of an event

     The JSON Schema (2020-12) of one event, as it is on NATS and in `GET /api/events`:
    `/schemas/events/purged/1.json` is of `archive.purged.v1`.

    Args:
        event (EventName): What can happen to an entity.
        file (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | EventSchemaResponse200]
    """

    kwargs = _get_kwargs(
        event=event,
        file=file,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    event: EventName,
    file: str,
    *,
    client: AuthenticatedClient | Client,
) -> Error | EventSchemaResponse200 | None:
    """The JSON Schema of an event

     The JSON Schema (2020-12) of one event, as it is on NATS and in `GET /api/events`:
    `/schemas/events/purged/1.json` is of `archive.purged.v1`.

    Args:
        event (EventName): What can happen to an entity.
        file (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | EventSchemaResponse200
    """

    return (
        await asyncio_detailed(
            event=event,
            file=file,
            client=client,
        )
    ).parsed
