import { Effect } from "effect"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { bytesOnDisk } from "../../src/services/disk/ChunkStore.ts"
import { stack } from "./stack.ts"

/**
 * A program that prints what the index takes of memory for each chunk of large files, and for each file of one chunk, in bytes. Needs
 * `--expose-gc`.
 */

const FILES = 100
const CHUNKS_PER_FILE = 2000
const SHORT_FILES = 50_000
const BYTES = bytesOnDisk(64 * 1024)

/** Heap and buffers that are still in use, in bytes. */
const used = (): number => {
  for (let i = 0; i < 3; i++) globalThis.gc!()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/** Identifiers as the store finds them: cut out of the names of files. */
const identifiersOf = (name: string) => {
  const { id: resource } = makeResource(`http://origin.test/${name}`)
  const [representation] = /^[0-9a-f]{32}/.exec(`${makeResource(`${name} representation`).id}.0`)!
  return { resource, representation }
}

const enter = (index: CacheIndex["Service"], name: string, chunks: number): void => {
  const file = identifiersOf(name)
  for (let i = 0; i < chunks; i++) index.enter({ ...file, index: i }, BYTES, "cold")
  index.setManifest(file.resource, 4096)
  index.noteUse(file.resource, 1_700_000_000_000)
}

const measure = Effect.map(CacheIndex, (index) => {
  const before = used()
  for (let i = 0; i < FILES; i++) enter(index, `long ${i}`, CHUNKS_PER_FILE)
  const between = used()
  for (let i = 0; i < SHORT_FILES; i++) enter(index, `short ${i}`, 1)
  const after = used()
  return {
    perChunk: (between - before) / (FILES * CHUNKS_PER_FILE),
    perFile: (after - between) / SHORT_FILES,
    count: index.count()
  }
})

process.stdout.write(JSON.stringify(await Effect.runPromise(Effect.provide(measure, stack("memory")))))
