from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.diff import Diff
from ...models.entity_type import EntityType
from ...models.error import Error
from ...models.history import History
from ...types import UNSET, Response, Unset


def _get_kwargs(
    entity_type: EntityType,
    id: str,
    *,
    diff: str | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["diff"] = diff

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/admin/archived/{entity_type}/{id}/history".format(
            entity_type=quote(str(entity_type), safe=""),
            id=quote(str(id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Diff | History | Error | None:
    if response.status_code == 200:

        def _parse_response_200(data: object) -> Diff | History:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_history_or_diff_type_0 = History.from_dict(data)

                return componentsschemas_history_or_diff_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_history_or_diff_type_1 = Diff.from_dict(data)

            return componentsschemas_history_or_diff_type_1

        response_200 = _parse_response_200(response.json())

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
) -> Response[Diff | History | Error]:
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
    diff: str | Unset = UNSET,
) -> Response[Diff | History | Error]:
    """An entity's history

     A purged entity keeps its history; what was sealed in it is gone.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        diff (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Diff | History | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
        diff=diff,
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
    diff: str | Unset = UNSET,
) -> Diff | History | Error | None:
    """An entity's history

     A purged entity keeps its history; what was sealed in it is gone.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        diff (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Diff | History | Error
    """

    return sync_detailed(
        entity_type=entity_type,
        id=id,
        client=client,
        diff=diff,
    ).parsed


async def asyncio_detailed(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    diff: str | Unset = UNSET,
) -> Response[Diff | History | Error]:
    """An entity's history

     A purged entity keeps its history; what was sealed in it is gone.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        diff (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Diff | History | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
        diff=diff,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
    diff: str | Unset = UNSET,
) -> Diff | History | Error | None:
    """An entity's history

     A purged entity keeps its history; what was sealed in it is gone.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):
        diff (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Diff | History | Error
    """

    return (
        await asyncio_detailed(
            entity_type=entity_type,
            id=id,
            client=client,
            diff=diff,
        )
    ).parsed
