package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vulturepi/gateway/client"
)

// Gateway is which one, and who we are there.
type Gateway struct {
	URL       string `default:"http://localhost:8080" env:"GATEWAY_URL" placeholder:"URL" help:"Address of the gateway, http://localhost:8080 if not set; GATEWAY_URL says it, too." group:"gateway"`
	TokenFile string `placeholder:"FILE" help:"File with a key or token. GATEWAY_TOKEN has one, too, and GATEWAY_TOKEN_FILE names one." group:"gateway"`
	CAFile    string `name:"ca-file" placeholder:"FILE" help:"CA that signed the certificate, in PEM; without it the system's." group:"gateway"`
	CertFile  string `placeholder:"FILE" help:"Certificate to show, in PEM." group:"gateway"`
	KeyFile   string `placeholder:"FILE" help:"Private key of --cert-file." group:"gateway"`
}

// The variables that hold a key.
const (
	envToken     = "GATEWAY_TOKEN"
	envTokenFile = "GATEWAY_TOKEN_FILE"
)

// token is the key, from where it does not show in the list of processes.
func (g *Gateway) token(sh *Shell) (string, error) {
	value, isSet := os.LookupEnv(envToken)
	file, from := g.TokenFile, "--token-file"
	if file == "" {
		var named bool
		if file, named = os.LookupEnv(envTokenFile); named {
			from = envTokenFile
			switch {
			case isSet:
				return "", usage("%s and %s are both set; unset one of them", envToken, envTokenFile)
			case file == "":
				return "", usage("%s is set but empty; give it a value or unset it", envTokenFile)
			}
		}
	}
	if file == "" {
		if value = strings.TrimSpace(value); isSet && value == "" {
			return "", usage("%s is set but empty; give it a value or unset it", envToken)
		}
		return checkToken(envToken, value)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usage("%s: %v", from, err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		sh.note("%s: others can read the file; chmod 600 keeps the key to yourself", from)
	}
	if value = strings.TrimSpace(string(b)); value == "" {
		return "", usage("%s: the file is empty", from)
	}
	return checkToken(from, value)
}

// checkToken refuses what cannot stand in a header, and says nothing of it.
func checkToken(from, value string) (string, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usage("%s: a key or token is one line of printable characters without spaces", from)
	}
	return value, nil
}

// tls is what the files say; nil without them.
func (g *Gateway) tls() (*tls.Config, error) {
	if g.CAFile == "" && g.CertFile == "" && g.KeyFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if g.CAFile != "" {
		pem, err := os.ReadFile(g.CAFile)
		if err != nil {
			return nil, usage("--ca-file: %v", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("--ca-file: %s holds no certificate in PEM", g.CAFile)
		}
	}
	if (g.CertFile == "") != (g.KeyFile == "") {
		return nil, usage("--cert-file and --key-file go together")
	}
	if g.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(g.CertFile, g.KeyFile)
		if err != nil {
			return nil, usage("--cert-file: %v", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// dial reaches the gateway. What is not sent at once is not tried again, unless
// it goes on for retry.
func (g *Gateway) dial(sh *Shell, retry time.Duration) (*client.Client, error) {
	options := client.Options{RetryFor: retry, Waiting: sh.lost}
	var err error
	if options.Token, err = g.token(sh); err != nil {
		return nil, err
	}
	cfg, err := g.tls()
	if err != nil {
		return nil, err
	}
	if cfg != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = cfg
		options.HTTP = &http.Client{Transport: t}
	}
	c, err := client.Dial(sh.Ctx, g.URL, options)
	var e *client.Error
	if errors.As(err, &e) && e.Code == client.CodeInvalidAddress {
		return nil, usage("--url or GATEWAY_URL: %s", strings.TrimSuffix(e.Detail, "."))
	}
	return c, err
}

// atOnce is a retry of none.
const atOnce = -1

// UsesGateway tells the commands of this package from those that run one.
func (*Gateway) UsesGateway() {}
