import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { identify, make } from "../../../src/domain/Resource.ts"

describe("Resource", () => {
  it.prop("has an id that is safe as a file name and depends on the whole URL", { path: Schema.String }, ({ path }) => {
    const url = `http://origin.example/${path}`
    const { id } = make(url)
    assert.match(id, /^[0-9a-f]{32}$/)
    assert.strictEqual(make(url).id, id)
    assert.notStrictEqual(make(`${url}x`).id, id)
  })

  it("keeps parts apart", () => {
    assert.notStrictEqual(identify("a", "b"), identify("ab"))
    assert.notStrictEqual(identify("a", "b"), identify("a,b"))
    assert.notStrictEqual(identify("a"), identify("a", ""))
  })
})
