package wire

// Code says what went wrong. A code never changes its meaning, so clients
// decide by it; docs/errors.md has the status and the explanation of each.
type Code string

// All codes.
const (
	// The request as HTTP.
	CodeNotFound               Code = "not_found"
	CodeMethodNotAllowed       Code = "method_not_allowed"
	CodeURITooLong             Code = "uri_too_long"
	CodeUnknownParameter       Code = "unknown_parameter"
	CodeInvalidParameter       Code = "invalid_parameter"
	CodeInvalidCursor          Code = "invalid_cursor"
	CodeNotAcceptable          Code = "not_acceptable"
	CodeInvalidHost            Code = "invalid_host"
	CodeHostNotAllowed         Code = "host_not_allowed"
	CodeCrossOrigin            Code = "cross_origin"
	CodeRequestTimeout         Code = "request_timeout"
	CodeUpgradeRequired        Code = "upgrade_required"
	CodeInvalidHandshake       Code = "invalid_handshake"
	CodeUnsupportedSubprotocol Code = "unsupported_subprotocol"
	CodeInternalError          Code = "internal_error"

	// Who the caller is, and what the caller may do.
	CodeUnauthenticated Code = "unauthenticated"
	CodeTokenInURL      Code = "token_in_url"
	CodeUntrustedHeader Code = "untrusted_header"
	CodeTopicForbidden  Code = "topic_forbidden"
	CodeRetainForbidden Code = "retain_forbidden"
	CodeFilterForbidden Code = "filter_forbidden"
	CodeOperatorsOnly   Code = "operators_only"
	CodeRateLimited     Code = "rate_limited"

	// The body of a publish, or a WebSocket frame.
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeUnsupportedEncoding  Code = "unsupported_encoding"
	CodeBodyTooLarge         Code = "body_too_large"
	CodePayloadTooLarge      Code = "payload_too_large"
	CodeInvalidBody          Code = "invalid_body"
	CodeBodyNotAllowed       Code = "body_not_allowed"
	CodeEmptyBody            Code = "empty_body"
	CodeInvalidJSON          Code = "invalid_json"
	CodeInvalidUTF8          Code = "invalid_utf8"
	CodeTrailingData         Code = "trailing_data"
	CodeNotAnObject          Code = "not_an_object"
	CodeNotAnArray           Code = "not_an_array"
	CodeBatchTooLarge        Code = "batch_too_large"
	CodeDuplicateKey         Code = "duplicate_key"
	CodeUnknownField         Code = "unknown_field"
	CodeTooDeep              Code = "too_deep"
	CodeInvalidUnicode       Code = "invalid_unicode"
	CodeInvalidQoS           Code = "invalid_qos"
	CodeInvalidRetain        Code = "invalid_retain"
	CodeInvalidEncoding      Code = "invalid_encoding"
	CodeInvalidPayload       Code = "invalid_payload"
	CodeInvalidBase64        Code = "invalid_base64"
	CodePayloadRequired      Code = "payload_required"
	CodeWouldClearRetained   Code = "would_clear_retained"
	CodeInvalidProperty      Code = "invalid_property"
	CodeNeedsMQTT5           Code = "needs_mqtt5"

	// Topics and filters.
	CodeTopicRequired      Code = "topic_required"
	CodeInvalidTopic       Code = "invalid_topic"
	CodeTopicTooLong       Code = "topic_too_long"
	CodeTopicTooDeep       Code = "topic_too_deep"
	CodeTopicUTF8          Code = "topic_utf8"
	CodeTopicControlChar   Code = "topic_control_char"
	CodeTopicNoncharacter  Code = "topic_noncharacter"
	CodeTopicFormatChar    Code = "topic_format_char"
	CodeTopicWildcard      Code = "topic_wildcard"
	CodeTopicReserved      Code = "topic_reserved"
	CodeFilterRequired     Code = "filter_required"
	CodeFilterTooLong      Code = "filter_too_long"
	CodeFilterUTF8         Code = "filter_utf8"
	CodeFilterControlChar  Code = "filter_control_char"
	CodeFilterNoncharacter Code = "filter_noncharacter"
	CodeFilterSyntax       Code = "filter_syntax"
	CodeFilterTooComplex   Code = "filter_too_complex"
	CodeFilterReserved     Code = "filter_reserved"
	CodeFilterRefused      Code = "filter_refused"
	CodeFilterNotCovered   Code = "filter_not_covered"
	CodeLimitExceeded      Code = "limit_exceeded"

	// Values.
	CodeTopicNotSeen  Code = "topic_not_seen"
	CodeValueTooLarge Code = "value_too_large"

	// Idempotency-Key.
	CodeInvalidIdempotencyKey Code = "invalid_idempotency_key"
	CodeIdempotencyMismatch   Code = "idempotency_mismatch"
	CodeIdempotencyInProgress Code = "idempotency_in_progress"
	CodeIdempotencyFull       Code = "idempotency_full"

	// Requests.
	CodeNoReply         Code = "no_reply"
	CodeReplyTooLarge   Code = "reply_too_large"
	CodeTooManyRequests Code = "too_many_requests"

	// Devices.
	CodeDeviceNotSeen Code = "device_not_seen"
	CodeDeviceOffline Code = "device_offline"

	// WebSocket ops.
	CodeInvalidOp     Code = "invalid_op"
	CodeInvalidID     Code = "invalid_id"
	CodeInvalidTopics Code = "invalid_topics"

	// The broker and the gateway's state.
	CodeBrokerUnavailable  Code = "broker_unavailable"
	CodeOverloaded         Code = "overloaded"
	CodeOutcomeUnknown     Code = "outcome_unknown"
	CodeBrokerDenied       Code = "broker_denied"
	CodeBrokerTooLarge     Code = "broker_too_large"
	CodeBrokerQuota        Code = "broker_quota"
	CodeBrokerRefused      Code = "broker_refused"
	CodeTooManyConnections Code = "too_many_connections"
	CodeShuttingDown       Code = "shutting_down"
)

// CloseCode is the status code of a WebSocket close frame (RFC 6455 section
// 7.4): 4000 to 4499 mean that the client may connect again, 4500 to 4999 that
// it would end in the same way.
type CloseCode int

// The close codes that the gateway sends.
const (
	CloseGoingAway     CloseCode = 1001 // the gateway is going down
	CloseProtocolError CloseCode = 1002 // the frames are malformed
	CloseBinary        CloseCode = 1003 // a binary message
	CloseInvalidUTF8   CloseCode = 1007 // a text message, or a close reason, that is not UTF-8
	ClosePolicy        CloseCode = 1008 // frames without end and no message
	CloseTooBig        CloseCode = 1009 // a message larger than max_frame_bytes
	CloseOverloaded    CloseCode = 1013 // all unfinished messages together are too large
	CloseExpired       CloseCode = 4005 // the time of the credentials is over, or they have to be shown again
	CloseSlow          CloseCode = 4008 // the client does not keep up
	CloseRate          CloseCode = 4009 // the client goes on though it is over its limit, or has to wait before it logs in
	CloseCredentials   CloseCode = 4501 // the credentials are bad, or the first frame has none
	CloseUnknown       CloseCode = 4502 // the client has not said in time who it is
	CloseRights        CloseCode = 4503 // the client has lost its rights
	CloseMalformed     CloseCode = 4509 // ten frames that are no ops
)

// The codes that stand for a missing one (RFC 6455 section 7.4.1). They are
// never sent.
const (
	CloseNoCode   CloseCode = 1005 // the close frame had none
	CloseAbnormal CloseCode = 1006 // the connection ended without a close frame
)
