from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.entity_evidence_response_200 import EntityEvidenceResponse200
from ...models.entity_type import EntityType
from ...models.error import Error
from ...types import UNSET, Response


def _get_kwargs(
    entity_type: EntityType,
    id: str,
) -> dict[str, Any]:

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/admin/archived/{entity_type}/{id}/evidence".format(
            entity_type=quote(str(entity_type), safe=""),
            id=quote(str(id), safe=""),
        ),
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> EntityEvidenceResponse200 | Error | None:
    if response.status_code == 200:
        response_200 = EntityEvidenceResponse200.from_dict(response.json())

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
) -> Response[EntityEvidenceResponse200 | Error]:
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
) -> Response[EntityEvidenceResponse200 | Error]:
    """Evidence of one entity, for checking offline

     The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion
    proofs, checkpoint. What a purge erased is not in it.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EntityEvidenceResponse200 | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
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
) -> EntityEvidenceResponse200 | Error | None:
    """Evidence of one entity, for checking offline

     The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion
    proofs, checkpoint. What a purge erased is not in it.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EntityEvidenceResponse200 | Error
    """

    return sync_detailed(
        entity_type=entity_type,
        id=id,
        client=client,
    ).parsed


async def asyncio_detailed(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
) -> Response[EntityEvidenceResponse200 | Error]:
    """Evidence of one entity, for checking offline

     The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion
    proofs, checkpoint. What a purge erased is not in it.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EntityEvidenceResponse200 | Error]
    """

    kwargs = _get_kwargs(
        entity_type=entity_type,
        id=id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    entity_type: EntityType,
    id: str,
    *,
    client: AuthenticatedClient,
) -> EntityEvidenceResponse200 | Error | None:
    """Evidence of one entity, for checking offline

     The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion
    proofs, checkpoint. What a purge erased is not in it.

    Args:
        entity_type (EntityType): A type of entities.
        id (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EntityEvidenceResponse200 | Error
    """

    return (
        await asyncio_detailed(
            entity_type=entity_type,
            id=id,
            client=client,
        )
    ).parsed
