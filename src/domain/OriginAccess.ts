import type { Redacted } from "effect"

/**
 * How one server is reached, besides its URL.
 *
 * @since 0.1.0
 * @category options
 */
export interface OriginAccess {
  readonly tls?: OriginTls
  /** The `Host` field of requests, instead of the host of the URL. */
  readonly host?: string
  /** What identifies Spillway to the server. */
  readonly authorization?: Authorization
}

/**
 * TLS with one server. Texts are in PEM.
 *
 * @since 0.1.0
 * @category options
 */
export interface OriginTls {
  /** The certificates of the authorities that may sign the server's certificate, instead of those that Node trusts. */
  readonly ca?: string
  /** The client certificate, and those between it and its authority. */
  readonly certificate?: string
  /** The key of the client certificate. */
  readonly key?: Redacted.Redacted
  /** The name to request and verify, instead of the host of the URL. */
  readonly serverName?: string
}

/**
 * The credentials of Spillway itself. Viewers don't see them, and they go to no other server after a redirect.
 *
 * @since 0.1.0
 * @category options
 */
export type Authorization =
  | { readonly _tag: "Basic"; readonly user: string; readonly password: Redacted.Redacted }
  | { readonly _tag: "Bearer"; readonly token: Redacted.Redacted }
  /** Requests to a bucket are signed with AWS Signature Version 4. */
  | { readonly _tag: "SigV4"; readonly region: string; readonly keys: AwsKeys | AwsProfile }

/** Keys of an AWS account, or of a service that is compatible with S3. */
export interface AwsKeys {
  readonly _tag: "Keys"
  readonly accessKeyId: string
  readonly secretAccessKey: Redacted.Redacted
  /** That of temporary keys. */
  readonly sessionToken?: Redacted.Redacted | undefined
}

/** A profile of a file with shared credentials, such as `~/.aws/credentials`. It is read again while it is in use. */
export interface AwsProfile {
  readonly _tag: "Profile"
  readonly file: string
  readonly profile: string
}
