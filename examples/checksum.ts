import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { createHash } from "node:crypto"
import { Spillway } from "spillway"

/**
 * A program without a server: it prints the SHA-256 of a file. What it has read stays cached, so that the next run fetches only the rest.
 *
 *     CACHE_DIR=cache MIN_FREE=1GiB FILE_URL=https://media.example.org/film.mp4 node examples/checksum.ts
 */
const checksum = Effect.gen(function*() {
  const { open } = yield* Spillway
  const { stream } = yield* open(yield* Config.String("FILE_URL"))
  const hash = yield* Stream.runFold(stream, () => createHash("sha256"), (hash, bytes) => hash.update(bytes))
  yield* Console.log(hash.digest("hex"))
}).pipe(Effect.scoped)

const layerCache = Spillway.layerConfig({
  directory: Config.String("CACHE_DIR"),
  minFree: Config.ByteSize("MIN_FREE")
}).pipe(Layer.provide(NodeServices.layer))

checksum.pipe(Effect.provide(layerCache), NodeRuntime.runMain)
