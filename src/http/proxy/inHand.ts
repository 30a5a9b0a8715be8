import { Stream } from "effect"
import { validatorsOf } from "../../domain/Representation.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { evaluate, isConditional, notModifiedHeaders, rangeApplies } from "../../domain/rfc/Preconditions.ts"
import type { OriginResponse } from "../../services/origin/Origin.ts"
import { failureHeaders } from "./mediaResponse.ts"

/**
 * An answer that the origin gave to Spillway's own question, as the answer to the viewer's request: the viewer's preconditions, which
 * the origin was not sent, are evaluated. `undefined` if the viewer has to be answered by another one.
 */
export const answering = (response: OriginResponse, request: HeaderFields): OriginResponse | undefined => {
  const { headers, setCookie, status } = response
  // What precedes a range has yet to be evaluated (RFC 9110 §13.2.2).
  if (status === 416) return isConditional(request) ? undefined : response
  // Preconditions mean nothing to other answers (RFC 9110 §13.2.1).
  if (status !== 200 && status !== 206) return response
  const validators = validatorsOf(headers)
  switch (evaluate(request, validators)) {
    case "NotModified":
      return { status: 304, headers: notModifiedHeaders(headers), setCookie, body: Stream.empty }
    case "Failed": {
      return {
        status: 412,
        headers: { ...failureHeaders(headers), "content-length": "0" },
        setCookie,
        body: Stream.empty
      }
    }
    case "Proceed":
      return status === 206 && !rangeApplies(request["if-range"], validators) ? undefined : response
  }
}
