package api

import (
	"net/http"

	"github.com/vulturepi/gateway/wire"
)

// kind is what all problems with one code have in common. The table below is
// the source of docs/errors.md and of the page behind a problem's type.
type kind struct {
	code      wire.Code
	status    int
	title     string
	retryable bool   // the same request, unchanged, may work later without doing harm
	meaning   string // what it is and what to do
}

// kinds lists every code that a client can get.
var kinds = []kind{
	// The request as HTTP.
	{wire.CodeNotFound, http.StatusNotFound, "Not found", false, "No route has this path. Paths are taken as they are: no trailing slash, nothing is cleaned. See /openapi.yaml."},
	{wire.CodeMethodNotAllowed, http.StatusMethodNotAllowed, "Method not allowed", false, "The route exists, but not for this method. The `Allow` header lists those that do."},
	{wire.CodeURITooLong, http.StatusRequestURITooLong, "URI too long", false, "Path and query together may have 16384 bytes."},
	{wire.CodeUnknownParameter, http.StatusBadRequest, "Unknown query parameter", false, "The route has no such query parameter, or the query is malformed. Misspelt parameters are never ignored."},
	{wire.CodeInvalidParameter, http.StatusBadRequest, "Invalid parameter", false, "A query parameter or stream option has a value that it cannot have; `detail` says which it can."},
	{wire.CodeInvalidCursor, http.StatusBadRequest, "Invalid cursor", false, "`since` is neither a cursor that a gateway has given out, nor a duration such as `10m`, nor an RFC 3339 time; or `Last-Event-ID` is no cursor. Leave it out to start fresh."},
	{wire.CodeNotAcceptable, http.StatusNotAcceptable, "Not acceptable", false, "`Accept` takes none of the forms that there are. A stream comes as `text/event-stream`, `application/x-ndjson` or `text/plain`, or use `format=sse|ndjson|text`. A topic's value comes as its payload, or with `application/json` as an object."},
	{wire.CodeInvalidHost, http.StatusBadRequest, "Invalid Host", false, "The request has no Host header, or one that is no name or address with an optional port from 1 to 65535. An IPv6 address stands in brackets."},
	{wire.CodeHostNotAllowed, http.StatusMisdirectedRequest, "Host not allowed", false, "The Host header is none of localhost, the machine's own addresses, or GATEWAY_ALLOWED_HOSTS. This keeps foreign web pages out (DNS rebinding)."},
	{wire.CodeCrossOrigin, http.StatusForbidden, "Cross-origin request", false, "A web page of another origin sent the request. List its origin in GATEWAY_ALLOWED_ORIGINS to let it in."},
	{wire.CodeRequestTimeout, http.StatusRequestTimeout, "Request timeout", true, "The body brought less than 1 KiB in 10 seconds, or took longer than `GATEWAY_BODY_TIMEOUT`."},
	{wire.CodeUpgradeRequired, http.StatusUpgradeRequired, "Upgrade required", false, "This path speaks WebSocket only."},
	{wire.CodeInvalidHandshake, http.StatusBadRequest, "Invalid WebSocket handshake", false, "The upgrade request breaks RFC 6455; `detail` says how."},
	{wire.CodeUnsupportedSubprotocol, http.StatusBadRequest, "Unsupported subprotocol", false, "Offer `gateway.v1`, or no subprotocol."},
	{wire.CodeInternalError, http.StatusInternalServerError, "Internal error", false, "The gateway failed. The log has the details under the `request_id`."},

	// Who the caller is, and what the caller may do.
	{wire.CodeUnauthenticated, http.StatusUnauthorized, "Unauthenticated", false, "The request has no credentials that let anybody in, and without credentials it is not granted. Send `Authorization: Bearer` and a key or token. Whatever is wrong with them, the answer is the same."},
	{wire.CodeTokenInURL, http.StatusBadRequest, "Credentials in the URL", false, "The URL holds a key or a token. URLs end up in logs and histories: replace it, and send the new one as `Authorization: Bearer`, or get a ticket from `/auth/ticket`."},
	{wire.CodeUntrustedHeader, http.StatusBadRequest, "Untrusted header", false, "The request has the header in which a trusted proxy names its user, but does not come from one (GATEWAY_TRUSTED_PROXIES)."},
	{wire.CodeTopicForbidden, http.StatusForbidden, "Topic forbidden", false, "The caller's rights do not grant the topic. GET /auth/explain says which rule decides."},
	{wire.CodeRetainForbidden, http.StatusForbidden, "Retain forbidden", false, "The caller may publish to the topic, but neither retain there nor clear it."},
	{wire.CodeFilterForbidden, http.StatusForbidden, "Filter forbidden", false, "The caller's rights do not grant all that the filter matches. GET /auth/explain says which rule decides."},
	{wire.CodeOperatorsOnly, http.StatusForbidden, "Operators only", false, "This is for principals with `operator: true`."},
	{wire.CodeRateLimited, http.StatusTooManyRequests, "Rate limited", true, "The principal, or the address, is over one of its limits, or has failed to log in too often. Nothing was sent; try again after `Retry-After` seconds."},

	// The body of a publish, or a WebSocket frame.
	{wire.CodeUnsupportedMediaType, http.StatusUnsupportedMediaType, "Unsupported media type", false, "The route takes `application/json`, in UTF-8; a batch may also be `application/x-ndjson`. To publish any other body as it is, send it to `/topics/…`."},
	{wire.CodeUnsupportedEncoding, http.StatusUnsupportedMediaType, "Unsupported content encoding", false, "Bodies may have `Content-Encoding: gzip` or `identity`, or none."},
	{wire.CodeBodyTooLarge, http.StatusRequestEntityTooLarge, "Body too large", false, "The body is larger than any message of the allowed size could be."},
	{wire.CodePayloadTooLarge, http.StatusRequestEntityTooLarge, "Payload too large", false, "The payload has more bytes than GATEWAY_MAX_PAYLOAD_BYTES allows."},
	{wire.CodeInvalidBody, http.StatusBadRequest, "Invalid body", false, "The body broke off, or its framing is malformed. What came before is told apart in the answer of a stream; otherwise nothing was sent."},
	{wire.CodeBodyNotAllowed, http.StatusBadRequest, "Body not allowed", false, "DELETE takes no body."},
	{wire.CodeEmptyBody, http.StatusBadRequest, "Empty body", false, "The body must be a JSON object, or the array of a batch."},
	{wire.CodeInvalidJSON, http.StatusBadRequest, "Invalid JSON", false, "The body is not valid JSON; `detail` gives the byte offset."},
	{wire.CodeInvalidUTF8, http.StatusBadRequest, "Invalid UTF-8", false, "JSON is UTF-8. Send other bytes with `\"encoding\":\"base64\"`."},
	{wire.CodeTrailingData, http.StatusBadRequest, "Trailing data", false, "The body must be one JSON object and nothing behind it."},
	{wire.CodeNotAnObject, http.StatusBadRequest, "Not an object", false, "The body must be a JSON object."},
	{wire.CodeNotAnArray, http.StatusBadRequest, "Not an array", false, "A batch of `application/json` must be an array of objects."},
	{wire.CodeBatchTooLarge, http.StatusRequestEntityTooLarge, "Batch too large", false, "An array may have 10000 objects, and so many lines a stream with an Idempotency-Key; a stream without one has no limit. Of an array nothing was sent; of a stream nothing from that line on."},
	{wire.CodeDuplicateKey, http.StatusBadRequest, "Duplicate key", false, "An object has the same key twice."},
	{wire.CodeUnknownField, http.StatusBadRequest, "Unknown field", false, "The object has a field that does not exist. Field names are case-sensitive."},
	{wire.CodeTooDeep, http.StatusBadRequest, "Too deep", false, "JSON may be nested 64 levels deep."},
	{wire.CodeInvalidUnicode, http.StatusUnprocessableEntity, "Invalid Unicode", false, "A string has half of a surrogate pair, which no UTF-8 can stand for."},
	{wire.CodeInvalidQoS, http.StatusUnprocessableEntity, "Invalid QoS", false, "`qos` is the number 0, 1 or 2."},
	{wire.CodeInvalidRetain, http.StatusUnprocessableEntity, "Invalid retain", false, "`retain` is true or false."},
	{wire.CodeInvalidEncoding, http.StatusUnprocessableEntity, "Invalid encoding", false, "`encoding` is `json`, `text` or `base64`."},
	{wire.CodeInvalidPayload, http.StatusUnprocessableEntity, "Invalid payload", false, "With encoding `text` or `base64` the payload is a string."},
	{wire.CodeInvalidBase64, http.StatusUnprocessableEntity, "Invalid base64", false, "Base64 uses the standard alphabet with padding, without white space."},
	{wire.CodePayloadRequired, http.StatusUnprocessableEntity, "Payload required", false, "`payload` is missing. An empty string is a payload."},
	{wire.CodeWouldClearRetained, http.StatusUnprocessableEntity, "Would clear the retained message", false, "An empty retained payload deletes the topic's retained message, so it is refused here. DELETE on the topic is meant for that."},
	{wire.CodeInvalidProperty, http.StatusUnprocessableEntity, "Invalid property", false, "A property of MQTT 5 has a value that it cannot have; `detail` says which it can. They are text in UTF-8 without control characters and non-characters: `content_type` of 256 bytes at most, `response_topic` as a topic is, `correlation` of 1024 bytes as base64, `expiry` of whole seconds, and 64 user properties with names of 256 and values of 4096 bytes, 8192 bytes in all."},
	{wire.CodeNeedsMQTT5, http.StatusUnprocessableEntity, "Needs MQTT 5", false, "The message has properties, and MQTT 3.1.1, which the broker speaks with the gateway, has none. `errors` names the fields. See GATEWAY_MQTT_VERSION."},

	// Topics and filters.
	{wire.CodeTopicRequired, http.StatusUnprocessableEntity, "Topic required", false, "`topic` is missing or empty."},
	{wire.CodeInvalidTopic, http.StatusUnprocessableEntity, "Invalid topic", false, "`topic` is a string."},
	{wire.CodeTopicTooLong, http.StatusUnprocessableEntity, "Topic too long", false, "A topic that is published to has 1024 bytes at most, one that is read or cleared 4096."},
	{wire.CodeTopicTooDeep, http.StatusUnprocessableEntity, "Topic too deep", false, "A topic that is published to has 32 levels at most, one that is read or cleared 200."},
	{wire.CodeTopicUTF8, http.StatusUnprocessableEntity, "Topic is not UTF-8", false, "A topic is valid UTF-8."},
	{wire.CodeTopicControlChar, http.StatusUnprocessableEntity, "Control character in topic", false, "A topic has no control characters: brokers cut the connection on them."},
	{wire.CodeTopicNoncharacter, http.StatusUnprocessableEntity, "Non-character in topic", false, "A topic has no Unicode non-characters such as U+FFFE."},
	{wire.CodeTopicFormatChar, http.StatusUnprocessableEntity, "Format character in topic", false, "A topic that is published to has no invisible format characters such as U+200B; U+200C and U+200D are allowed."},
	{wire.CodeTopicWildcard, http.StatusUnprocessableEntity, "Wildcard in topic", false, "`+` and `#` are for subscribing. A message goes to one topic."},
	{wire.CodeTopicReserved, http.StatusForbidden, "Reserved topic", false, "Topics that start with `$` belong to the broker."},
	{wire.CodeFilterRequired, http.StatusUnprocessableEntity, "Filter required", false, "The filter is missing or empty."},
	{wire.CodeFilterTooLong, http.StatusUnprocessableEntity, "Filter too long", false, "A filter has 4096 bytes at most."},
	{wire.CodeFilterUTF8, http.StatusUnprocessableEntity, "Filter is not UTF-8", false, "A filter is valid UTF-8."},
	{wire.CodeFilterControlChar, http.StatusUnprocessableEntity, "Control character in filter", false, "A filter has no control characters."},
	{wire.CodeFilterNoncharacter, http.StatusUnprocessableEntity, "Non-character in filter", false, "A filter has no Unicode non-characters."},
	{wire.CodeFilterSyntax, http.StatusUnprocessableEntity, "Malformed filter", false, "`+` stands alone in its level; `#` stands alone in the last one."},
	{wire.CodeFilterTooComplex, http.StatusUnprocessableEntity, "Filter too complex", false, "A filter has 200 levels at most."},
	{wire.CodeFilterReserved, http.StatusForbidden, "Reserved filter", false, "Filters that start with `$` (`$share/…`) are not for clients; `$SYS/…` is for operators."},
	{wire.CodeFilterRefused, http.StatusForbidden, "Filter refused by the broker", false, "The broker does not let the gateway read what the filter matches."},
	{wire.CodeFilterNotCovered, http.StatusUnprocessableEntity, "Filter not covered", false, "The gateway watches other topics only (GATEWAY_WATCH)."},
	{wire.CodeLimitExceeded, http.StatusUnprocessableEntity, "Limit exceeded", false, "One connection holds 100 filters at most. Use a wildcard, or another connection."},

	{wire.CodeTopicNotSeen, http.StatusNotFound, "Topic not seen", false, "The gateway has received no message on this topic, and the broker keeps none as retained. To wait for one, ask with `Prefer: wait=30`."},
	{wire.CodeValueTooLarge, http.StatusBadGateway, "Value too large", false, "The newest message on this topic is larger than GATEWAY_MAX_PAYLOAD_BYTES, so the gateway has not kept it. `bytes` is how large its payload is."},

	// Idempotency-Key.
	{wire.CodeInvalidIdempotencyKey, http.StatusBadRequest, "Invalid Idempotency-Key", false, "`Idempotency-Key` is given once, with 1 to 128 printable ASCII characters."},
	{wire.CodeIdempotencyMismatch, http.StatusUnprocessableEntity, "Idempotency-Key used before", false, "The key was used within the last five minutes with another path, query or body. A new message needs a new key."},
	{wire.CodeIdempotencyInProgress, http.StatusConflict, "Idempotency-Key in progress", true, "The first request with the key has no answer yet. Ask again after `Retry-After` seconds: you will get its answer."},
	{wire.CodeIdempotencyFull, http.StatusServiceUnavailable, "Too many Idempotency-Keys", true, "The memory for keys is full, and none is forgotten before its five minutes are over. Nothing was sent."},

	// Requests.
	{wire.CodeNoReply, http.StatusGatewayTimeout, "No reply", false, "The message was published, but nothing came on the reply topic before the timeout. The device may have acted all the same; asking again may make it act twice."},
	{wire.CodeReplyTooLarge, http.StatusBadGateway, "Reply too large", false, "The reply came, but is larger than GATEWAY_MAX_PAYLOAD_BYTES. `bytes` is how large its payload is. The device has acted; asking again may make it act twice."},
	{wire.CodeTooManyRequests, http.StatusTooManyRequests, "Too many requests", true, "1024 requests wait for a reply. Nothing was sent; try again after `Retry-After` seconds."},

	// Devices.
	{wire.CodeDeviceNotSeen, http.StatusNotFound, "Device not seen", false, "The gateway has not heard of a device with this id, or has forgotten it, or the caller may not know of it. See GATEWAY_DEVICES."},
	{wire.CodeDeviceOffline, http.StatusConflict, "Device offline", true, "The device that the request names is not connected to the broker. Nothing was sent. GET /devices/{id} says since when."},

	// WebSocket ops.
	{wire.CodeInvalidOp, http.StatusBadRequest, "Invalid op", false, "A frame's `op` is `auth`, `subscribe`, `unsubscribe`, `publish`, `request` or `ping`. Ten malformed frames close the connection with 4509."},
	{wire.CodeInvalidID, http.StatusUnprocessableEntity, "Invalid id", false, "`id` is a number or a string of 64 bytes at most."},
	{wire.CodeInvalidTopics, http.StatusUnprocessableEntity, "Invalid topics", false, "`topics` is an array of 1 to 256 strings."},

	// The broker and the gateway's state.
	{wire.CodeBrokerUnavailable, http.StatusServiceUnavailable, "Broker unavailable", true, "There is no connection to the broker. Nothing was sent; try again after `Retry-After` seconds."},
	{wire.CodeOverloaded, http.StatusServiceUnavailable, "Overloaded", true, "Too many publishes wait for the broker; or all unfinished bodies, or all answers that wait to be read, together are as large as they may be (GATEWAY_BODIES_BYTES, GATEWAY_ANSWERS_BYTES); or so many filters have `+` where others have a name that each message would be held up. Nothing was sent; try again after `Retry-After` seconds."},
	{wire.CodeOutcomeUnknown, http.StatusGatewayTimeout, "Outcome unknown", false, "The message was sent, and then the connection was lost or GATEWAY_PUBLISH_TIMEOUT passed. It may or may not have reached the broker; publishing again may deliver it twice. With an `Idempotency-Key` it may also be that the first answer was given, but was too large to be kept."},
	{wire.CodeBrokerDenied, http.StatusForbidden, "Denied by the broker", false, "The broker does not let the gateway publish to this topic: its access list decides. `reason_code` is the broker's (MQTT 5)."},
	{wire.CodeBrokerTooLarge, http.StatusRequestEntityTooLarge, "Too large for the broker", false, "The message is larger than the broker takes. `reason_code` is the broker's (MQTT 5)."},
	{wire.CodeBrokerQuota, http.StatusTooManyRequests, "Over the broker's quota", true, "The broker takes no more messages from the gateway for now. `reason_code` is the broker's (MQTT 5). Try again after `Retry-After` seconds."},
	{wire.CodeBrokerRefused, http.StatusUnprocessableEntity, "Refused by the broker", false, "The broker refuses the message, and would refuse it again: by a reason, which is the `reason_code` (MQTT 5), or by closing the connection on it. After that, messages like it (topic, QoS, retain, about that size) are refused at once for GATEWAY_REFUSED_FOR, so that nobody else's are lost with them."},
	{wire.CodeTooManyConnections, http.StatusServiceUnavailable, "Too many connections", true, "GATEWAY_MAX_CONNECTIONS streams are open, or a quarter of them have not said who they are, or very many are being opened at this moment. Try again after `Retry-After` seconds."},
	{wire.CodeShuttingDown, http.StatusServiceUnavailable, "Shutting down", true, "The gateway is going down. Nothing was sent; try again after `Retry-After` seconds."},
}

// kindOf is the entry of a code, which there must be.
func kindOf(code wire.Code) kind {
	for _, k := range kinds {
		if k.code == code {
			return k
		}
	}
	panic("api: code without a kind: " + string(code))
}
