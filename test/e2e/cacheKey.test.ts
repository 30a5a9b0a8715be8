import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory, totalText } from "../support/disks.ts"
import { eventually, eventuallyHit, openView, runProgram, startProgram, view } from "../support/Program.ts"
import { fileOf, makeGate, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

describe("--cache-key", () => {
  it.live.each([1, 2])(
    "shares one entry and one transfer between two tokens, which nothing shows (%i workers)",
    (workers) =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const size = 8 * MiB
        const gate = makeGate()
        for (const token of ["token-of-alice", "token-of-bob", "token-of-carol"]) {
          origin.files.set(
            `/library/film?part=1&token=${token}`,
            fileOf(size, 1, { hold: { after: MiB, until: gate.opened } })
          )
        }
        const directory = yield* temporaryDirectory
        const options = `--min-free 0 --workers ${workers} --cache-dir ${directory}`.split(" ")
        const program = yield* startProgram([
          ...(yield* withoutHedges(origin.url)),
          ...options,
          "--cache-key",
          "/library/* ignore=token"
        ], {
          env: { SPILLWAY_LOG_LEVEL: "all" }
        })
        const film = (token: string) => `${program.url}/library/film?part=1&token=${token}`
        const hash = sha256(fileOf(size, 1).bytes)
        const viewers = [yield* openView(film("token-of-alice")), yield* openView(film("token-of-bob"))]
        yield* Effect.forEach(viewers, ({ readTo }) => readTo(1))
        yield* gate.open
        for (const { rest } of viewers) assert.strictEqual((yield* rest).sha256, hash)
        const gets = origin.requests.filter(({ method, url }) => method === "GET" && url !== "/")
        assert.deepStrictEqual(gets.map(({ url }) => url), ["/library/film?part=1&token=token-of-alice"])
        yield* eventuallyHit(film("token-of-carol"))
        assert.strictEqual((yield* view(film("token-of-carol"))).sha256, hash)
        assert.notInclude(
          story((yield* view(`${program.url}/library/film?part=2&token=token-of-alice`)).headers),
          "hit"
        )

        const run = (...args: ReadonlyArray<string>) =>
          Effect.map(
            runProgram([...args, "--server", program.url]),
            ({ code, stderr, stdout }) => `${code} ${stdout}${stderr}`
          )
        yield* eventually(
          "the whole file on disk",
          Effect.map(run("why", film("token-of-carol")), (text) => text.includes("completely cached"))
        )
        const shown = [
          yield* run("ls"),
          yield* run("map", film("token-of-bob")),
          yield* run("pin", film("token-of-bob")),
          yield* run("status"),
          yield* run("purge", "--wait", film("token-of-alice")),
          yield* Effect.promise(async () => (await fetch(`${program.url}/_spillway/metrics`)).text()),
          totalText(directory),
          program.printed()
        ]
        for (const text of shown) assert.notInclude(text, "token-of-")
        assert.match(shown[0]!, /library\/film\?part=1\s/)
        assert.match(shown[1]!, /8 of 8 chunks/)
        assert.match(shown[4]!, /^0 1 file removed/)
      })
  )
})
