import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { crc32 } from "node:zlib"
import { Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import * as ManifestFormat from "../../../../src/services/disk/manifestFormat.ts"

const { id: resource, url } = makeResource("http://origin.test/film")
const fields = {
  id: "0".repeat(32),
  resource,
  url,
  size: 3,
  chunkSize: 1024,
  etag: "\"1\"",
  headers: { etag: "\"1\"" }
}

/** A file as every version has written it. */
const fileOf = (manifest: object): string => {
  const line = JSON.stringify(manifest)
  return `${line}\n${crc32(line)}`
}

describe("a manifest", () => {
  it("is read back as it was written", () => {
    const representation = new Representation({ ...fields, generatedAt: 7 })
    const file = Buffer.from(ManifestFormat.encode(representation)).toString()
    assert.deepStrictEqual(ManifestFormat.decode(resource, file), Option.some(representation))
  })

  it("has the time at which its age was 0 as `born`, or not at all", () => {
    const written = Buffer.from(ManifestFormat.encode(new Representation({ ...fields, generatedAt: 7 }))).toString()
    assert.strictEqual(JSON.parse(written.split("\n")[0]!).born, 7)
    for (const [manifest, expected] of [[{ ...fields, born: 7 }, 7], [fields, 0]] as const) {
      const found = Option.getOrThrow(ManifestFormat.decode(resource, fileOf(manifest)))
      assert.strictEqual(found.generatedAt, expected)
    }
  })
})
