import { Option, Result } from "effect"
import { createPrivateKey, X509Certificate } from "node:crypto"
import { parseMatch, parseOrigin, type Route } from "../../domain/Route.ts"
import { FIELD, HOST_PATTERN, nonEmpty, type SettingType } from "./settingTypes.ts"

/**
 * What the values of a `[[route]]` section may be.
 */

const succeeds = (attempt: () => unknown): boolean => Result.isSuccess(Result.try(attempt))

/** The name of a header field that a route may change, in lower case. */
export const changeable = (isFree: (name: string) => boolean): SettingType<string> => ({
  unit: "NAME",
  expected: "the name of a header field that Spillway doesn't write itself",
  parse: (text) => Option.filter(FIELD.parse(text), isFree)
})

/** Everything else could be understood differently by different programs. */
export const FIELD_VALUE: SettingType<string> = {
  unit: "VALUE",
  expected: "visible ASCII characters and spaces",
  parse: Option.liftPredicate((text) => /^[\x20-\x7e]*$/.test(text)),
  isSecret: true
}

export const MATCH: SettingType<Route["match"]> = {
  unit: "MATCH",
  expected: "a path such as /films or a host such as films.example.org",
  parse: (text) => Option.fromNullishOr(parseMatch(text))
}

export const ORIGIN: SettingType<URL> = {
  unit: "URL",
  expected: "a URL such as https://media.example.org",
  parse: (text) => Option.liftPredicate(parseOrigin(text), (url) => typeof url !== "string"),
  explain: (text) => String(parseOrigin(text))
}

/** The same, or the URL of a bucket: `s3://`, its name, and perhaps the beginning of the names of files. */
export const ORIGIN_OR_BUCKET: SettingType<URL> = {
  unit: "URL",
  expected: "a URL such as https://media.example.org, file:///mnt/films or s3://films",
  parse: (text) => {
    const url = URL.parse(text)
    return url?.protocol === "s3:" ? Option.liftPredicate(url, isBucket) : ORIGIN.parse(text)
  },
  explain: (text) =>
    /^s3:/i.test(text)
      ? "expected the URL of a bucket such as s3://films or s3://films/old"
      : String(parseOrigin(text))
}

const isBucket = ({ hash, host, password, search, username }: URL): boolean =>
  /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(host) && username + password + search + hash === ""

/** The URL of an S3 server. */
export const ENDPOINT: SettingType<URL> = {
  unit: "URL",
  expected: "an http or https URL such as https://minio.example.org:9000",
  parse: (text) =>
    Option.liftPredicate(parseOrigin(text), (url): url is URL => typeof url !== "string" && url.protocol !== "file:")
}

export const REGION: SettingType<string> = {
  unit: "NAME",
  expected: "a region such as eu-central-1",
  parse: Option.liftPredicate((text) => /^[a-z0-9-]{1,63}$/i.test(text))
}

export const PROFILE: SettingType<string> = { unit: "NAME", expected: "the name of a profile", parse: nonEmpty }

/** A host and perhaps a port, as in the field `Host`. */
export const HOST_FIELD: SettingType<string> = {
  unit: "HOST",
  expected: "a host such as media.example.org or media.example.org:8443",
  parse: Option.liftPredicate((text) => HOST_PATTERN.test(text) && !text.includes("*"))
}

export const SERVER_NAME: SettingType<string> = {
  unit: "HOST",
  expected: "a host name such as media.example.org",
  parse: Option.liftPredicate((text) => /^(?=.*[a-z])[a-z0-9.-]{1,253}$/i.test(text))
}

/** Without a colon, which ends it (RFC 7617 §2). */
export const USER: SettingType<string> = {
  unit: "TEXT",
  expected: "a user without a colon or control characters",
  // oxlint-disable-next-line no-control-regex
  parse: Option.liftPredicate((text) => /^[^:\u0000-\u001f\u007f]+$/.test(text))
}

export const PASSWORD: SettingType<string> = {
  unit: "TEXT",
  expected: "a password without control characters",
  // oxlint-disable-next-line no-control-regex
  parse: Option.liftPredicate((text) => /^[^\u0000-\u001f\u007f]*$/.test(text))
}

/** The characters of a bearer token (RFC 6750 §2.1). */
export const BEARER: SettingType<string> = {
  unit: "TOKEN",
  expected: "a token of letters, digits and -._~+/=",
  parse: Option.liftPredicate((text) => /^[\w.~+/-]+=*$/.test(text))
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** One certificate or several, in PEM. */
export const CERTIFICATES: SettingType<string> = {
  unit: "PEM",
  expected: "certificates in PEM, such as ${file:certificate.pem}",
  parse: Option.liftPredicate((text) => {
    const certificates = text.match(CERTIFICATE) ?? []
    return certificates.length > 0 && succeeds(() => certificates.map((one) => new X509Certificate(one)))
  })
}

/** A private key without a passphrase, in PEM. */
export const PRIVATE_KEY: SettingType<string> = {
  unit: "PEM",
  expected: "a private key in PEM without a passphrase, such as ${file:key.pem}",
  parse: Option.liftPredicate((text) => succeeds(() => createPrivateKey(text)))
}

/** The name of a query parameter, in which `*` stands for any characters. */
export const PARAMETER: SettingType<string> = {
  unit: "NAME",
  expected: "the name of a query parameter, such as token or utm_*",
  parse: nonEmpty
}
