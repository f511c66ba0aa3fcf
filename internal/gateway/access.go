package gateway

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/config"
)

// accessVariables are the variables of the options that access finds fault with.
var accessVariables = map[string]string{
	"File": "GATEWAY_ACCESS_FILE", "KeyFile": "GATEWAY_JWT_KEY_FILE", "JWKS": "GATEWAY_JWT_JWKS",
	"Algorithms": "GATEWAY_JWT_ALGORITHMS", "Claim": "GATEWAY_JWT_CLAIM",
}

// openAccess gets ready to recognise callers. What is wrong with a file is a
// ConfigError that names its variable.
func openAccess(cfg *config.Config, log *slog.Logger, report func(access.Report)) (*access.Authenticator, error) {
	o := access.Options{
		None: cfg.Auths(config.AuthNone), Keys: cfg.Auths(config.AuthKeys), MTLS: cfg.Auths(config.AuthMTLS), Header: cfg.Auths(config.AuthHeader),
		File: cfg.AccessFile, Report: report,
		Note: func(note string) { log.Warn("access control", "notice", note) },
	}
	if cfg.Auths(config.AuthJWT) {
		o.JWT = &access.JWTOptions{
			Issuer: cfg.JWTIssuer, Audience: cfg.JWTAudience, Algorithms: cfg.JWTAlgorithms,
			KeyFile: cfg.JWTKeyFile, JWKS: cfg.JWTJWKS, Claim: cfg.JWTClaim,
		}
	}
	a, err := access.Open(o)
	if wrong := new(access.OptionError); errors.As(err, &wrong) {
		return nil, ConfigError{fmt.Errorf("%s: %w", accessVariables[wrong.Option], wrong.Err)}
	}
	return a, err
}

// reports logs what becomes of files that are read again.
func reports(log *slog.Logger, count func(ok bool)) func(access.Report) {
	return func(r access.Report) {
		count(r.Err == nil)
		if r.Err != nil {
			log.Error("new access rules were refused, and the old ones stay in force", "source", string(r.Source), "err", r.Err)
			return
		}
		log.Info("new access rules are in force", "source", string(r.Source))
	}
}
