from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.error import Error
from ...models.register_archive_request import RegisterArchiveRequest
from ...models.registered_archive import RegisteredArchive
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: RegisterArchiveRequest,
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
        "url": "/api/v3/oneprovider/archives",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Error | RegisteredArchive | None:
    if response.status_code == 201:
        response_201 = RegisteredArchive.from_dict(response.json())

        return response_201

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
) -> Response[Error | RegisteredArchive]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: RegisterArchiveRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | RegisteredArchive]:
    """Register an archive

     201 once the registration is committed.

    Args:
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (RegisterArchiveRequest): The body. Fields that are not named here are ignored, as
            Onedata does.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | RegisteredArchive]
    """

    kwargs = _get_kwargs(
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
    *,
    client: AuthenticatedClient,
    body: RegisterArchiveRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | RegisteredArchive | None:
    """Register an archive

     201 once the registration is committed.

    Args:
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (RegisterArchiveRequest): The body. Fields that are not named here are ignored, as
            Onedata does.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | RegisteredArchive
    """

    return sync_detailed(
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: RegisterArchiveRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Response[Error | RegisteredArchive]:
    """Register an archive

     201 once the registration is committed.

    Args:
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (RegisterArchiveRequest): The body. Fields that are not named here are ignored, as
            Onedata does.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Error | RegisteredArchive]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        if_match=if_match,
        if_none_match=if_none_match,
        x_reason_code=x_reason_code,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: RegisterArchiveRequest,
    idempotency_key: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    x_reason_code: str | Unset = UNSET,
) -> Error | RegisteredArchive | None:
    """Register an archive

     201 once the registration is committed.

    Args:
        idempotency_key (str | Unset):
        if_match (str | Unset):
        if_none_match (str | Unset):
        x_reason_code (str | Unset):
        body (RegisterArchiveRequest): The body. Fields that are not named here are ignored, as
            Onedata does.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Error | RegisteredArchive
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            if_match=if_match,
            if_none_match=if_none_match,
            x_reason_code=x_reason_code,
        )
    ).parsed
