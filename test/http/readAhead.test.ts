import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { get, type IncomingMessage } from "node:http"
import { MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"
import { bytes, start, withTime } from "./Site.ts"

/** More than the kernel takes for two sockets. */
const LARGE = randomBytes(40 * MiB)

/** Waits for what the network brings, however long that takes. */
const awaited = (check: () => boolean) =>
  withTime(Effect.promise(async () => {
    while (!check()) await new Promise((resolve) => setTimeout(resolve, 1))
  }))

describe("a read-ahead", () => {
  it.effect(
    "leaves the only slot at the origin to another viewer, and goes on afterwards",
    () =>
      Effect.gen(function*() {
        const site = yield* start({
          policy: { readAhead: 24 * MiB },
          origins: { maxRequests: 1, firstByteTimeout: 86_400_000 },
          cache: { chunkSize: MiB }
        })
        site.file("/film", { bytes: LARGE, rate: 20 * MiB })
        const body: Array<Buffer> = []
        let isComplete = false
        const response = yield* Effect.callback<IncomingMessage>((resume) => {
          const request = get(`${site.url}/film`, (response) => resume(Effect.succeed(response)))
          return Effect.sync(() => request.destroy())
        })
        const film = () => site.seen("/film")
        yield* awaited(() => film()[0] !== undefined && film()[0]!.sent > 12 * MiB)
        site.file("/other")
        const other = yield* withTime(site.ask("/other"))
        assert.isTrue(other.body.equals(bytes))
        assert.isTrue(film()[0]!.aborted)
        assert.isBelow(film()[0]!.sent, LARGE.length)
        yield* awaited(() => film().length > 1 && film()[1]!.sent > MiB)
        const rest = film()[1]!.headers.range
        assert.match(rest!, /^bytes=[1-9]/)
        response.on("data", (bytes: Buffer) => body.push(bytes))
        response.on("end", () => isComplete = true)
        yield* awaited(() => isComplete)
        assert.strictEqual(sha256(Buffer.concat(body)), sha256(LARGE))
      })
  )
})
