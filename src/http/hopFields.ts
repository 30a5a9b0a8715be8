/**
 * Which fields of a viewer's request do not go to the origin.
 */

/** Fields of a request that are Spillway's own business on the way to the origin. */
export const ofTheHop = new Set(["host", "expect", "accept-encoding"])

/** The same where the answer is for this viewer alone, who may have it compressed. */
export const ofTheHopPassing = new Set(["host", "expect"])

/** Besides, what tells one viewer's request from another's, where the answer is for all. */
export const ofTheViewer = new Set([
  ...ofTheHop,
  "content-length",
  "content-type",
  "cookie",
  "forwarded",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
  // By these, an origin may be made to answer as to another client, host, URL or method than those that the answer is kept for.
  "true-client-ip",
  "x-client-ip",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-path",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-forwarded-scheme",
  "x-forwarded-server",
  "x-forwarded-ssl",
  "x-forwarded-uri",
  "x-host",
  "x-http-host-override",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-host",
  "x-original-url",
  "x-real-ip",
  "x-rewrite-url"
])
