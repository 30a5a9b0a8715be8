import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { startFleet, watch } from "../support/fleetPrograms.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

describe("a cold file", () => {
  it.live(
    "that all nodes are asked for at once comes from the origin once",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const film = fileOf(24 * MiB, 1)
        origin.files.set("/film", film)
        const fleet = yield* startFleet({ origin, stretch: 4 * MiB })
        yield* fleet.settled(2)
        origin.reset()
        const viewers = fleet.nodes.flatMap(({ url }) => Array.from({ length: 4 }, () => watch(`${url}/film`)))
        const seen = yield* Effect.all(viewers, { concurrency: "unbounded" })
        for (const { isWhole, sha256: hash, size, status } of seen) {
          assert.deepStrictEqual({ status, size, isWhole }, { status: 200, size: film.bytes.length, isWhole: true })
          assert.strictEqual(hash, sha256(film.bytes))
        }
        assert.strictEqual(
          origin.bodyBytes(),
          film.bytes.length,
          JSON.stringify(origin.requests.map(({ headers, sent, url }) => [url, headers.range, sent]))
        )
      }),
    60_000
  )
})
