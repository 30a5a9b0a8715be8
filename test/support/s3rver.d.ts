declare module "@20minutes/s3rver" {
  import type { RequestListener } from "node:http"
  export default class S3rver {
    constructor(options: {
      readonly silent: boolean
      readonly directory: string
      readonly vhostBuckets: boolean
      readonly configureBuckets: ReadonlyArray<{ readonly name: string }>
    })
    configureBuckets(): Promise<unknown>
    callback(): RequestListener
  }
}

declare module "@20minutes/s3rver/lib/models/account.js" {
  const account: {
    readonly DUMMY_ACCOUNT: {
      readonly createKeyPair: (id: string, secret: string) => void
      readonly revokeAccessKey: (id: string) => void
    }
  }
  export default account
}
