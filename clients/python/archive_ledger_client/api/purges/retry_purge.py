from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error import Error
from ...models.retried_purge import RetriedPurge
from ...types import UNSET, Response, Unset


def _get_kwargs(
    purge_id: UUID,
    *,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    if not isinstance(if_none_match, Unset):
        headers["If-None-Match"] = if_none_match

    if not isinstance(x_reason_code, Unset):
        headers["X-Reason-Code"] = x_reason_code

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/admin/purges/{purge_id}/retry".format(
            purge_id=quote(str(purge_id), safe=""),
        ),
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | RetriedPurge | None:
    if response.status_code == 202:
        response_202 = RetriedPurge.from_dict(response.json())

        return response_202

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

    if response.status_code == 413:
        response_413 = Error.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Error.from_dict(response.json())

        return response_415

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
) -> Response[Error | RetriedPurge]:
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
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | RetriedPurge]:
    """Retry a purge

     Tries a purge again at once. One that has failed is asked for again, which gives it another id.

    Args:
        purge_id (UUID):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | RetriedPurge]
    """

    kwargs = _get_kwargs(
        purge_id=purge_id,
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
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | RetriedPurge | None:
    """Retry a purge

     Tries a purge again at once. One that has failed is asked for again, which gives it another id.

    Args:
        purge_id (UUID):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | RetriedPurge
    """

    return sync_detailed(
        purge_id=purge_id,
        client=client,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    ).parsed


async def asyncio_detailed(
    purge_id: UUID,
    *,
    client: AuthenticatedClient,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | RetriedPurge]:
    """Retry a purge

     Tries a purge again at once. One that has failed is asked for again, which gives it another id.

    Args:
        purge_id (UUID):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | RetriedPurge]
    """

    kwargs = _get_kwargs(
        purge_id=purge_id,
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
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | RetriedPurge | None:
    """Retry a purge

     Tries a purge again at once. One that has failed is asked for again, which gives it another id.

    Args:
        purge_id (UUID):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | RetriedPurge
    """

    return (
        await asyncio_detailed(
            purge_id=purge_id,
            client=client,
            if_match=if_match,
            if_none_match=if_none_match,
            x_reason_code=x_reason_code,
        )
    ).parsed
