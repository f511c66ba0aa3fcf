// Package sdkjs holds sdk.js, the JavaScript client that the gateway serves.
package sdkjs

import _ "embed"

// Source is the ES module.
//
//go:embed sdk.js
var Source []byte
