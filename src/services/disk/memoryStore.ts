import { Effect, Option, Stream } from "effect"
import { IoError } from "../../domain/CacheError.ts"
import { type ChunkKey, keyText } from "../../domain/Chunk.ts"
import { inBlocks } from "./blocks.ts"
import { bytesOnDisk } from "./chunkFormat.ts"
import type { ChunkStore, CompactResource, Contents, Examined } from "./ChunkStore.ts"
import { compactBytesOnDisk } from "./compactFormat.ts"
import { readShortBy } from "./LentMemory.ts"
import * as ManifestFormat from "./manifestFormat.ts"

interface Kept {
  readonly key: ChunkKey
  readonly payload: Uint8Array
  readonly used: number
  readonly isCompact?: boolean
}

/** Chunks in a map, with the same contract as the store on disk. */
export const makeInMemory = (): ChunkStore["Service"] => {
  /** By resource, and then by key. */
  const chunks = new Map<string, Map<string, Kept>>()
  const manifests = new Map<string, { readonly file: Uint8Array; readonly isRevoked: boolean }>()
  const pins = new Set<string>()
  let bans: string | undefined
  const of = (resource: string): ReadonlyArray<Kept> => [...chunks.get(resource)?.values() ?? []]
  const find = (key: ChunkKey): Kept | undefined => chunks.get(key.resource)?.get(keyText(key))
  const put = (kept: Kept): void => {
    const others = chunks.get(kept.key.resource)
    if (others === undefined) chunks.set(kept.key.resource, new Map([[keyText(kept.key), kept]]))
    else others.set(keyText(kept.key), kept)
  }
  const drop = (key: ChunkKey): void => {
    const others = chunks.get(key.resource)
    others?.delete(keyText(key))
    if (others?.size === 0) chunks.delete(key.resource)
  }
  const resources = () => [...new Set([...manifests.keys(), ...chunks.keys()])]
  const bytesOf = ({ isCompact, key, payload }: Kept) =>
    isCompact === true
      ? compactBytesOnDisk(payload.length, manifests.get(key.resource)?.file.length ?? 0)
      : bytesOnDisk(payload.length)
  const compactOf = (resource: string): CompactResource | undefined => {
    const found = of(resource).find(({ isCompact }) => isCompact)
    return found === undefined
      ? undefined
      : {
        key: found.key,
        bytes: bytesOf(found),
        used: found.used,
        isRevoked: manifests.get(resource)?.isRevoked ?? false
      }
  }
  const manifestOf = (resource: string, isRevoked: boolean) => {
    const manifest = manifests.get(resource)
    return manifest?.isRevoked === isRevoked
      ? ManifestFormat.decode(resource, Buffer.from(manifest.file).toString())
      : Option.none()
  }
  const read: ChunkStore["Service"]["read"] = (key, length, { end, start }) =>
    Effect.suspend(() => {
      const found = find(key)
      const path = keyText(key)
      if (found === undefined) return Effect.fail(new IoError({ errno: "ENOENT", operation: "open", path }))
      return found.payload.length === length
        ? Effect.succeed(found.payload.subarray(start, end))
        : Effect.fail(new IoError({ errno: "SHORT_READ", operation: "read", path }))
    })
  const contents = (resource: string): Effect.Effect<Contents> =>
    Effect.sync(() => ({
      keys: of(resource).filter(({ isCompact }) => isCompact !== true).map(({ key }) => key),
      compact: compactOf(resource),
      manifest: {
        bytes: compactOf(resource) === undefined ? inBlocks(manifests.get(resource)?.file.length ?? 0) : 0,
        isRevoked: manifests.get(resource)?.isRevoked ?? false
      },
      pinned: pins.has(resource)
    }))
  const examine = (resource: string): Effect.Effect<Examined> =>
    Effect.map(contents(resource), ({ keys, ...others }) => ({
      ...others,
      isHollow: keys.length === 0 && others.compact === undefined,
      chunks: Array.from(Map.groupBy(keys, (key) => key.representation), ([representation, all]) => {
        const ordered = all.toSorted((a, b) => a.index - b.index)
        const [first, last] = [ordered[0]!, ordered.at(-1)!].map((key) => find(key!)!) as [Kept, Kept]
        return {
          representation,
          indices: ordered.map(({ index }) => index),
          bytes: bytesOf(first),
          lastBytes: bytesOf(last),
          used: Math.max(first.used, last.used)
        }
      })
    }))
  return {
    readBans: Effect.sync(() => Option.fromUndefinedOr(bans)),
    writeBans: (file) => Effect.sync(() => void (bans = Buffer.from(file).toString())),
    read,
    readShort: readShortBy(read),
    verify: (key) =>
      Effect.suspend(() => {
        const found = find(key)
        return found === undefined
          ? Effect.fail(new IoError({ errno: "ENOENT", operation: "stat", path: keyText(key) }))
          : Effect.succeed(found.payload.length)
      }),
    write: (key, payload) =>
      Effect.clockWith((clock) =>
        Effect.sync(() => put({ key, payload: new Uint8Array(payload), used: clock.currentTimeMillisUnsafe() }))
      ),
    remove: (key) =>
      Effect.sync(() => {
        if (find(key)?.isCompact === true) manifests.delete(key.resource)
        drop(key)
      }),
    readManifest: (resource) => Effect.sync(() => manifestOf(resource, false)),
    readRevoked: (resource) => Effect.sync(() => manifestOf(resource, true)),
    writeCompact: (key, payload, file) =>
      Effect.clockWith((clock) =>
        Effect.sync(() => {
          put({ key, payload: new Uint8Array(payload), used: clock.currentTimeMillisUnsafe(), isCompact: true })
          manifests.set(key.resource, { file, isRevoked: false })
        })
      ),
    writeManifest: (resource, file) =>
      Effect.sync(() => {
        for (const { isCompact, key } of of(resource)) if (isCompact === true) drop(key)
        manifests.set(resource, { file, isRevoked: false })
      }),
    revokeManifest: (resource) =>
      Effect.sync(() => {
        const manifest = manifests.get(resource)
        if (manifest !== undefined) manifests.set(resource, { ...manifest, isRevoked: true })
      }),
    withPrefix: (digits) => Effect.sync(() => resources().filter((resource) => resource.startsWith(digits))),
    removeResource: (resource) =>
      Effect.sync(() => {
        chunks.delete(resource)
        manifests.delete(resource)
        pins.delete(resource)
      }),
    contents,
    pin: (resource, pinned) => Effect.sync(() => void (pinned ? pins.add(resource) : pins.delete(resource))),
    stat: (key) =>
      Effect.sync(() =>
        Option.map(
          Option.fromUndefinedOr(find(key)),
          (found) => ({ key, bytes: bytesOf(found), used: found.used })
        )
      ),
    touch: () => Effect.void,
    release: () => Effect.void,
    resources: () =>
      Stream.suspend(() =>
        Stream.fromIterable(resources().map((resource) => ({ resource, examine: () => examine(resource) })))
      ),
    isBusy: () => false,
    stalled: () => Effect.never,
    probe: () => Effect.void
  }
}
