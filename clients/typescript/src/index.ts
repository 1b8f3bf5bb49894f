/** A typed client of archive-ledger: every path, parameter and answer is as its OpenAPI document says. */
import createFetchClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";

/** A schema of the document by its name, such as `Schema<"Entity">`. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];

/** A client of the service at `baseUrl`, for whoever holds `token`. */
export function createClient(baseUrl: string, token: string): Client<paths> {
  return createFetchClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
}
