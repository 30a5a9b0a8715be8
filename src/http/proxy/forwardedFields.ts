import { HOST_FIELD, SIGNATURE_FIELD, WANTS_FIELD } from "../../domain/PeerProtocol.ts"

/**
 * Which fields of a viewer's request do not go to the origin.
 */

/** Fields of a request that are Spillway's own business on the way to the origin. */
export const ofTheHop = new Set(["host", "expect", HOST_FIELD, SIGNATURE_FIELD, WANTS_FIELD])

/** Names of fields. */
export type Names = Pick<ReadonlySet<string>, "has">

const ofOneRequest = new Set([
  ...ofTheHop,
  // Sent with the codings that are stored only.
  "accept-encoding",
  "content-length",
  "content-type",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range"
])

/**
 * Fields by which an origin may be made to answer as to another client, host, URL, scheme or method than those that the answer is kept
 * for. CDNs and load balancers set them, and so can viewers.
 */
const misleading = new Set([
  "base-url",
  "client-ip",
  "forwarded",
  "front-end-https",
  // CGI's HTTP_PROXY, by which programs choose a proxy of their own.
  "proxy",
  "real-ip",
  "remote-addr",
  "remote-user",
  "true-client-ip",
  "x-backend-host",
  "x-base-url",
  "x-client-host",
  "x-client-ip",
  "x-cluster-client-ip",
  "x-coming-from",
  "x-host",
  "x-http-destinationurl",
  "x-http-host-override",
  "x-http-method",
  "x-http-method-override",
  "x-https",
  "x-method-override",
  "x-proxyuser-ip",
  "x-real-host",
  "x-real-ip",
  "x-remote-addr",
  "x-remote-ip",
  "x-remote-user",
  "x-rewrite-url",
  "x-scheme",
  "x-script-name",
  "x-true-client-ip",
  "x-url-scheme",
  "x-wap-profile"
])

/** How others of the kind begin. */
const MISLEADING = new RegExp(
  "^(?:x-forwarded|x-original-|x-envoy-|x-azure-|x-arr-|x-appengine-|x-akamai-|x-amz-cf-|x-amz-website-|x-nf-|x-sucuri-|x-vercel-|" +
    "akamai-|cf-|cloudfront-|fastly-|incap-|wl-proxy-)"
)

/** Also the fields that distinguish viewers' requests, if the answer is for all. */
export const ofTheViewer: Names = {
  has: (name) => {
    // Programs that get fields as CGI's variables cannot tell `-` from `_`.
    const plain = name.includes("_") ? name.replaceAll("_", "-") : name
    return ofOneRequest.has(name) || misleading.has(plain) || MISLEADING.test(plain)
  }
}
