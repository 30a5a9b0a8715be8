import { assert, describe, it } from "@effect/vitest"
import { type Bucket, bucketIn, bucketUrl } from "../../../src/domain/bucketUrl.ts"

describe("the URL of a bucket", () => {
  const endpoint = new URL("http://minio.test:9000")
  it.each<[string, Omit<Bucket, "name" | "prefix">, string]>([
    ["s3://films", { region: "eu-central-1" }, "https://films.s3.eu-central-1.amazonaws.com/"],
    ["s3://films/", { region: "eu-central-1" }, "https://films.s3.eu-central-1.amazonaws.com/"],
    ["s3://films/old/hd/", { region: "eu-central-1" }, "https://films.s3.eu-central-1.amazonaws.com/old/hd"],
    ["s3://films", { region: "cn-north-1" }, "https://films.s3.cn-north-1.amazonaws.com.cn/"],
    ["s3://my.films/a", { region: "us-east-1" }, "https://s3.us-east-1.amazonaws.com/my.films/a"],
    ["s3://films", { region: "us-east-1", pathStyle: true }, "https://s3.us-east-1.amazonaws.com/films"],
    ["s3://films/a", { region: "auto", endpoint }, "http://minio.test:9000/films/a"],
    ["s3://films/a", { region: "auto", endpoint, pathStyle: false }, "http://films.minio.test:9000/a"],
    ["s3://films", { region: "auto", endpoint: new URL("https://gate.test/s3/") }, "https://gate.test/s3/films"]
  ])("%s with %j is %s", (url, options, expected) => {
    assert.strictEqual(bucketUrl({ ...bucketIn(new URL(url)), ...options }).href, expected)
  })
})
