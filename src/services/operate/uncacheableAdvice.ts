import { isOfTheRequest, isServerError, type Uncacheable } from "../../domain/rfc/Cacheability.ts"

/** What a reason means, and what the operator can do about it. */
interface Advice {
  readonly message: string
  readonly advice?: string
}

/** For each reason why a response of the origin is uncacheable. */
export const uncacheableAdvice: Record<Uncacheable, Advice> = {
  STATUS: { message: "The origin's response is not a file" },
  NO_STORE: {
    message: "The origin forbids caching (Cache-Control: no-store)",
    advice: "Have the origin send Cache-Control with max-age, or no-cache to revalidate each time"
  },
  PRIVATE: {
    message: "The origin allows only the viewer's own cache to store it (Cache-Control: private)",
    advice: "If the file is the same for all viewers, have the origin send Cache-Control: public"
  },
  VARY: {
    message: "The response varies with cookies, credentials or too many other request fields (Vary)",
    advice: "Have the origin remove fields from Vary that the file does not depend on"
  },
  SET_COOKIE: {
    message: "The response sets a cookie, so it is assumed to be for one viewer",
    advice: "Have the origin set no cookies with files, or send Cache-Control: public"
  },
  ENCODED: {
    message: "The response has a content coding other than zstd, br and gzip, or one that the request did not accept",
    advice: "Have the origin send zstd, br or gzip, only to requests whose Accept-Encoding has it"
  },
  NO_LENGTH: {
    message: "The origin does not send the length of the file, which is not fresh or longer than 16 MiB",
    advice: "Have the origin send Content-Length, or for small files Cache-Control with max-age; or set --ttl"
  },
  TOO_LARGE: {
    message: "By the length that the origin sends, the file has more than 4,294,967,295 chunks",
    advice: "Correct the length at the origin, or set a larger --chunk-size"
  },
  NO_VALIDATOR: {
    message:
      "The origin sends no strong validator, and the response is a part, larger than 64 MiB, or neither fresh nor confirmable",
    advice:
      "Have the origin send a strong ETag, or for small files Cache-Control with max-age; or set --ttl or --assume-unchanged"
  },
  COOKIE: {
    message: "The origin sends viewers with a cookie another file than it sends others",
    advice:
      "Have the origin send Cache-Control: public if the file is the same for all viewers, or private if it is not"
  },
  AUTHORIZATION: {
    message: "The request needs credentials, and the origin does not allow shared caches to store the response",
    advice: "Have the origin send Cache-Control: public"
  }
}

/** What the operator can do about a response that is not a file, and isn't stored. */
export const adviceOnStatus = (status: number): string => {
  if (isServerError(status)) return "See what the origin's log says: an error of the server is never stored"
  if (isOfTheRequest(status)) return "See what the origin's log says: a response about one request is never stored"
  if (status === 401 || status === 403) return "Check whether the origin requires credentials, which this request lacks"
  return "Check the URL; to store such responses, have the origin send them with Cache-Control: max-age"
}
