import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../support/cutCable.ts", import.meta.url))

/** A network that nobody else sees. */
const unshare = ["unshare", "--net", "--mount", "--propagation", "private"] as const

/** Why no cable can be cut here, or `undefined`. */
const noCables = ((): string | undefined => {
  if (process.getuid?.() !== 0) return "only root may add networks"
  const setup = "mount -t tmpfs tmpfs /mnt && ip link add a0 type veth peer name a1"
  const { error, status, stderr } = spawnSync(unshare[0], [...unshare.slice(1), "sh", "-c", setup], {
    encoding: "utf8"
  })
  return status === 0 ? undefined : `no network of its own: ${error?.message ?? stderr.trim()}`
})()

if (noCables !== undefined) process.stderr.write(`skipped: cables that are cut: ${noCables}\n`)

/** What `cutCable.ts` says of one way to cut the cable. Times are in milliseconds. */
interface Cut {
  readonly name: string
  readonly isWhole: boolean
  readonly gap: number
  readonly firstByte: number
  readonly bytes: number
  readonly size: number
  readonly requests: ReadonlyArray<string>
}

const cutCables = Effect.callback<ReadonlyArray<Cut>>((resume) => {
  const child = spawn(unshare[0], [...unshare.slice(1), process.execPath, script], {
    stdio: ["ignore", "pipe", "pipe"]
  })
  let stdout = ""
  let stderr = ""
  child.stdout.on("data", (data: Buffer) => stdout += data.toString())
  child.stderr.on("data", (data: Buffer) => stderr += data.toString())
  child.on("close", (code) =>
    resume(
      code === 0
        ? Effect.sync(() => stdout.trim().split("\n").map((line) => JSON.parse(line) as Cut))
        : Effect.die(`cutCable.ts ended with ${code}: ${stdout}${stderr}`)
    ))
  return Effect.sync(() => child.kill("SIGTERM"))
})

/** What a loaded machine may add to a wait, in milliseconds. */
const LOAD_MILLIS = 15_000

describe.skipIf(noCables !== undefined)("a node whose cable is cut in mid-stream", () => {
  it.live(
    "costs no viewer a byte, and the origin one more request, from where both others are",
    () =>
      Effect.gen(function*() {
        const cuts = yield* cutCables
        assert.deepStrictEqual(cuts.map(({ name }) => name), ["cut", "one way"])
        for (const { bytes, firstByte, gap, isWhole, name, requests, size } of cuts) {
          process.stderr.write(`a cable that is cut (${name}): viewers wait ${gap} ms, the next one ${firstByte} ms\n`)
          assert.isTrue(isWhole, name)
          assert.isBelow(gap, 3500 + LOAD_MILLIS)
          assert.isBelow(firstByte, LOAD_MILLIS)
          // If one of the others is a little behind, it fetches the part of a chunk between them too.
          assert.isAtMost(requests.length, 3, requests.join())
          assert.match(requests.at(-1)!, /^bytes=[1-9]\d+-/)
          // What the origin has handed to its kernel for n3 counts, although n3 never gets it.
          assert.isAtMost(bytes, 2 * size)
        }
      })
  )
})
