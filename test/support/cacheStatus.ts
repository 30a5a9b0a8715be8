import type { IncomingHttpHeaders } from "node:http"

/** What a `Cache-Status` field tells of a response, without what differs from run to run: `ttl` and `key`. */
export const story = (headers: IncomingHttpHeaders): string =>
  String(headers["cache-status"]).replace(/; ttl=-?\d+/, "").replace(/; key="[^"]*"/, "")
