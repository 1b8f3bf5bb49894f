// A backup's life through the TypeScript client: the arguments are the service, a token, an id and a receiver's URL.
// Node gives it; its types are not needed for more.
declare const process: { argv: string[] };

import { createClient, type Schema } from "@archive-ledger/client";

const [service, token, id, receiver] = process.argv.slice(2) as [string, string, string, string];
const ledger = createClient(service, token);
const entity = { path: { entity_type: "backups", id } } as const;

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

function told<T>(answer: { data?: T; error?: unknown }): T {
  check(answer.data !== undefined, answer.error);
  return answer.data;
}

async function softDelete(): Promise<Schema<"ArchivedItem">> {
  const body: Schema<"SoftDeleteRequest"> = {
    id,
    name: "nightly",
    metadata: { size: 3456, tags: ["a", null], of: { region: "eu" } },
    reason: "closed",
  };
  const params = { path: { entity_type: "backups" }, header: { "Idempotency-Key": crypto.randomUUID() } } as const;
  return told(await ledger.POST("/api/admin/archived/{entity_type}", { params, body }));
}

// Soft-delete, list.
const item = await softDelete();
check(item.type === "backups" && item.metadata["size"] === 3456, item);
const seen: string[] = [];
for (let cursor: string | undefined | null = undefined; cursor !== null; ) {
  const query: { limit: number; cursor?: string } = cursor === undefined ? { limit: 1 } : { limit: 1, cursor };
  const page: Schema<"ArchivedPage"> = told(
    await ledger.GET("/api/admin/archived/{entity_type}", { params: { path: { entity_type: "backups" }, query } }),
  );
  seen.push(...page.items.map((one) => one.id));
  cursor = page.next_cursor;
}
check(seen.includes(id), seen);
const found = told(await ledger.GET("/api/admin/archived/{entity_type}/{id}", { params: entity }));
check(found.state === "archived" && found.version === 1, found);

// Restore, and what is refused.
told(await ledger.POST("/api/admin/archived/{entity_type}/{id}/restore", { params: entity }));
const again = await ledger.POST("/api/admin/archived/{entity_type}/{id}/restore", { params: entity });
check(again.response.status === 409 && again.error?.error.id === "alreadyExists", again.error);
await softDelete();

// Purge, history.
const body: Schema<"PurgeRequest"> = { deletedCallback: receiver };
told(await ledger.DELETE("/api/admin/archived/{entity_type}/{id}/purge", { params: entity, body }));
const history = told(await ledger.GET("/api/admin/archived/{entity_type}/{id}/history", { params: entity }));
check("items" in history, history);
const events = history.items.map((one) => one.event).join();
check(events === "soft_deleted,restored,soft_deleted,purge_requested,purged", events);

// Callbacks.
const query = { entity_type: "backups", entity_id: id } as const;
const deadline = Date.now() + 60_000;
for (;;) {
  const { items } = told(await ledger.GET("/api/admin/callbacks", { params: { query } }));
  const [delivery] = items;
  if (delivery?.state === "delivered") {
    const detail = told(await ledger.GET("/api/admin/callbacks/{id}", { params: { path: { id: delivery.id } } }));
    check(detail.attempts.map((attempt) => attempt.status).join() === "200", detail);
    break;
  }
  check(Date.now() < deadline, items);
  await new Promise((resolve) => setTimeout(resolve, 50));
}

// Audit.
const audit = told(await ledger.GET("/api/admin/audit/events", { params: { query: { entity_id: [id], action: ["purged"] } } }));
check(audit.items.length === 1 && audit.items[0]?.entity_id === id, audit);
console.log("told");
