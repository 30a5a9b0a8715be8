import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import type { AwsKeys } from "../../../../../src/domain/OriginAccess.ts"
import { canonicalPath, signed } from "../../../../../src/services/origin/s3/signature.ts"

/** Those of the examples in Amazon's documentation of S3. */
const keys: AwsKeys = {
  _tag: "Keys",
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: Redacted.make("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

describe("a signature", () => {
  it("is that of Amazon's example of a GET with a range", () => {
    const { authorization, ...fields } = signed({
      method: "GET",
      url: new URL("https://examplebucket.s3.amazonaws.com/test.txt"),
      headers: { range: "bytes=0-9" },
      region: "us-east-1",
      now: Date.UTC(2013, 4, 24)
    }, keys)
    assert.strictEqual(
      authorization,
      "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert.deepStrictEqual(fields, {
      host: "examplebucket.s3.amazonaws.com",
      range: "bytes=0-9",
      "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "x-amz-date": "20130524T000000Z"
    })
  })

  it("has the token of temporary keys", () => {
    const fields = signed({
      method: "HEAD",
      url: new URL("https://bucket.example/a"),
      headers: {},
      region: "us-east-1",
      now: 0
    }, { ...keys, sessionToken: Redacted.make("token") })
    assert.strictEqual(fields["x-amz-security-token"], "token")
    assert.include(fields["authorization"], "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,")
  })
})

describe("the path of a file", () => {
  it.each([
    ["/films/a.mp4", "/films/a.mp4"],
    ["/a+b", "/a%2Bb"],
    ["/a%2bb", "/a%2Bb"],
    ["/a%20b/", "/a%20b/"],
    ["/it's(1)!*~", "/it%27s%281%29%21%2A~"],
    ["/%C3%BC", "/%C3%BC"],
    ["/a%2Fb", "/a%2Fb"],
    ["//a", "//a"],
    ["/a%", undefined],
    ["/%ff", undefined]
  ])("%s is %s", (path, canonical) => {
    assert.strictEqual(canonicalPath(path), canonical)
  })
})
