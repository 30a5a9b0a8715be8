import { assert, describe, it } from "@effect/vitest"
import { Console, Effect, Fiber } from "effect"
import { dirname, join } from "node:path"
import { chunkFiles, readIfThere, sizeIfThere, temporaryDirectory, tree } from "../support/disks.ts"
import { eventually, type Program, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, randomBytes, sha256, type TestOrigin } from "../support/TestOrigin.ts"

/** How often the program is killed in all, and what the random instants come from. */
const TIMES = Number(process.env["SPILLWAY_TEST_KILLS"] ?? 10)
const SEED = Number(process.env["SPILLWAY_TEST_SEED"] ?? 1)

const MAX_SIZE = 8 * MiB
const BLOCK_BYTES = 4096
const FILES = 6
const FILE_BYTES = 2.5 * MiB + 12_345
const VIEWERS = 5

/** The latest that the program is killed after it listens, in milliseconds. */
const LATEST_KILL = 600

/** Numbers from 0 to 1, the same for the same seed. */
const makeRandom = (seed: number) => {
  const words = new Uint32Array(randomBytes(1 << 20, seed).buffer)
  let at = 0
  return () => words[at++ % words.length]! / 2 ** 32
}

const OPTIONS = ["--chunk-size", "256KiB", "--max-size", String(MAX_SIZE), "--min-free", "0", "--memory", "0"]

/** What shows that bytes are of one version, the field of a manifest that says so, and a fraction of the kills. */
const identities = [
  { identity: "a strong validator", kills: Math.ceil(TIMES / 2), field: "etag", options: [] },
  {
    identity: "--assume-unchanged",
    kills: Math.ceil(TIMES / 4),
    field: "assumed",
    options: ["--assume-unchanged", "/*"]
  },
  { identity: "a single transfer", kills: Math.ceil(TIMES / 4), field: "transfer", options: [] }
]

/** What is seen is right as far as it came, which is all the way unless the program was killed. */
const look = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, path: string, from: number) {
  const bytes = origin.files.get(path)!.bytes.subarray(from)
  const seen = yield* view(program.url + path, { range: `bytes=${from}-` }).pipe(
    Effect.map(({ sha256, size }) => ({ received: size, sha256, whole: true })),
    Effect.catchTag("ViewFailed", ({ received, sha256 }) => Effect.succeed({ received, sha256, whole: false }))
  )
  if (seen.whole) assert.strictEqual(seen.received, bytes.length)
  if (seen.received > 0) assert.strictEqual(seen.sha256, sha256(bytes.subarray(0, seen.received)))
  return seen.whole
})

const temporaries = (directory: string) => tree(directory).filter((path) => path.endsWith(".tmp"))

/** What chunks take, their manifests, and the directories of both, which have few names each. */
const bytesOnDisk = (directory: string): number => {
  const chunks = chunkFiles(directory).map(({ path }) => path)
  const resources = [...new Set(chunks.map(dirname))]
  const prefixes = new Set(resources.map(dirname))
  const manifests = resources.flatMap((path) => ["manifest.json", "revoked.json"].map((name) => join(path, name)))
  const files = [...chunks, ...manifests].map((path) => Math.ceil(sizeIfThere(path) / BLOCK_BYTES) * BLOCK_BYTES)
  return files.reduce((sum, bytes) => sum + bytes, 0) + (resources.length + prefixes.size) * BLOCK_BYTES
}

const countedBytes = ({ url }: Program) =>
  Effect.promise(async () => {
    const health = await (await fetch(`${url}/_spillway/health`)).json() as {
      readonly cache: { readonly bytes: number }
    }
    return health.cache.bytes
  })

describe("a process that is killed", () => {
  it.live.each(identities)(
    `$kills times under load leaves a cache that is right, with $identity (seed ${SEED})`,
    ({ field, identity, kills, options }) =>
      Effect.gen(function*() {
        const random = makeRandom(SEED)
        const origin = yield* makeTestOrigin
        for (let index = 0; index < FILES; index++) {
          const { etag, ...file } = fileOf(FILE_BYTES, index + 1, { rate: 8 * MiB })
          origin.files.set(`/${index}`, field === "etag" ? { ...file, etag: etag! } : file)
        }
        const paths = [...origin.files.keys()]
        const directory = yield* temporaryDirectory
        const start = startProgram([origin.url, "--cache-dir", directory, ...OPTIONS, ...options])

        // Once the index is complete.
        const isRight = Effect.fnUntraced(function*(program: Program) {
          const accounting = Effect.map(
            countedBytes(program),
            (counted) => ({ counted, taken: bytesOnDisk(directory) })
          )
          yield* Effect.map(accounting, ({ counted, taken }) => counted === taken).pipe(
            (same) => eventually("the accounting to be what is on disk", same),
            Effect.tapDefect(() => Effect.flatMap(accounting, Console.log))
          )
          yield* eventually("no temporary files", Effect.sync(() => temporaries(directory).length === 0))
          assert.isAtMost(yield* countedBytes(program), MAX_SIZE)
        })

        let leftBehind = 0
        for (let time = 0; time < kills; time++) {
          const program = yield* start
          // Each second time the load begins while the store is still being read.
          if (time > 0 && time % 2 === 0) yield* isRight(program)
          const load = yield* Effect.forkChild(Effect.forEach(
            Array.from({ length: VIEWERS }, () => random()),
            Effect.fnUntraced(function*(first) {
              let path = Math.floor(first * FILES)
              let from = 0
              while (yield* look(program, origin, paths[path % FILES]!, from)) {
                path += 1
                from = Math.floor(random() * FILE_BYTES)
              }
            }),
            { concurrency: "unbounded", discard: true }
          ))
          yield* Effect.sleep(random() * LATEST_KILL)
          assert.strictEqual(yield* program.stop("SIGKILL"), "SIGKILL")
          yield* Fiber.join(load)
          leftBehind += temporaries(directory).length
        }

        const program = yield* start
        yield* isRight(program)
        for (const path of paths) assert.isTrue(yield* look(program, origin, path, 0))
        yield* eventually("a cache in use", Effect.sync(() => bytesOnDisk(directory) > MAX_SIZE / 2))
        const manifests = tree(directory).filter((path) => path.endsWith("manifest.json")).flatMap(readIfThere)
        assert.isNotEmpty(manifests)
        for (const manifest of manifests) assert.include(manifest.toString("latin1"), `"${field}":`)
        yield* isRight(program)
        yield* Console.log(`${kills} kills with ${identity}, seed ${SEED}: ${leftBehind} writes were under way`)
        assert.strictEqual(yield* program.stop("SIGTERM"), 0)
      }),
    20_000 + TIMES * 5000
  )
})
