// Package spec holds the gateway's contract as files: OpenAPI for HTTP,
// AsyncAPI for the WebSocket.
package spec

import _ "embed"

// OpenAPI is openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI is asyncapi.yaml.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
