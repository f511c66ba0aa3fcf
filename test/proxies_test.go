package test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/certificate"
)

// proxyProgram is a reverse proxy with the configuration that is shipped for it.
type proxyProgram struct {
	name, config string
	args         func(dir, config string) []string
	// replace is all that the test changes in the file: addresses, places, and
	// the account of a program that would begin as root.
	replace func(p *proxy) []string
	// What passes of a body once its answer has begun, over HTTP/1.1 and HTTP/2.
	duplex [2]duplex
}

// duplex is how much of a body a proxy sends on once its answer has begun.
type duplex int

const (
	nothing    duplex = iota
	shortLines        // what fits into the buffers of sockets
	everything
)

var proxyPrograms = []proxyProgram{
	{
		name: "nginx", config: "../deploy/nginx/nginx.conf", duplex: [2]duplex{shortLines, nothing},
		args: func(dir, config string) []string {
			return []string{"-p", dir, "-e", "stderr", "-c", config, "-g", "daemon off;"}
		},
		replace: func(p *proxy) []string {
			return []string{
				"server 127.0.0.1:8080;", "server " + p.gateway + ";", "listen 80;", "listen " + p.plain + ";", "listen 443 ", "listen " + p.secure + " ",
				"/etc/nginx/", p.dir + "/", "/run/", p.dir + "/", "/var/log/nginx/", p.dir + "/", "/var/lib/nginx/", p.dir + "/", "user www-data;", "",
			}
		},
	},
	{
		name: "haproxy", config: "../deploy/haproxy/haproxy.cfg", duplex: [2]duplex{everything, everything},
		args: func(_, config string) []string { return []string{"-db", "-f", config} },
		replace: func(p *proxy) []string {
			return []string{
				"server gateway 127.0.0.1:8080", "server gateway " + p.gateway, "bind :80", "bind " + p.plain, "bind :443", "bind " + p.secure,
				"/etc/haproxy/", p.dir + "/", "    user haproxy\n", "", "    group haproxy\n", "",
			}
		},
	},
	{
		name: "caddy", config: "../deploy/caddy/Caddyfile", duplex: [2]duplex{nothing, everything},
		args: func(_, config string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
		replace: func(p *proxy) []string {
			return []string{
				"reverse_proxy 127.0.0.1:8080", "reverse_proxy " + p.gateway, "http://:80", "http://" + port(p.plain), "https://:443", "https://" + port(p.secure),
				"127.0.0.1:2019", freeAddr(p.t), "/etc/caddy/", p.dir + "/",
			}
		},
	},
}

// proxy is such a program that runs in front of a gateway, as a normal user.
type proxy struct {
	t             testing.TB
	gateway       string // its host and port
	plain, secure string // where the proxy listens
	dir           string
	roots         *x509.CertPool
}

// port is an address without its host, which for Caddy would be the one name
// that it serves.
func port(addr string) string { return addr[strings.LastIndexByte(addr, ':'):] }

// freeAddr is an address at which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startProxy runs program in front of g.
func startProxy(t *testing.T, program proxyProgram, g *gateway) *proxy {
	t.Helper()
	binary, err := exec.LookPath(program.name)
	if err != nil {
		binary = "/usr/sbin/" + program.name // Debian keeps it out of users' PATH
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("no %s is installed: run scripts/test-deps.sh", program.name)
	}
	// A directory that belongs to the user; those of t.TempDir are root's if the test is.
	dir, err := os.MkdirTemp("", program.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &proxy{t: t, gateway: g.host(), plain: freeAddr(t), secure: freeAddr(t), dir: dir}
	p.certify()
	text, err := os.ReadFile(program.config)
	if err != nil {
		t.Fatal(err)
	}
	pairs := program.replace(p)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q to replace", program.config, pairs[i])
		}
	}
	config := filepath.Join(dir, filepath.Base(program.config))
	if err := os.WriteFile(config, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, program.args(dir, config)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Chown(path, nobody, nobody)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	running := spawn(t, program.name, nil, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s (end):\n%s", program.name, tail(running.err.String(), 3000))
		}
	})
	for _, addr := range []string{p.plain, p.secure} {
		eventually(t, program.name+" listens", func() bool {
			select {
			case <-running.ended:
				t.Fatalf("%s does not start: %v\n%s%s", program.name, running.result, running.out.String(), running.err.String())
			default:
			}
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	return p
}

// certify makes what the configurations call gateway.pem and gateway-key.pem.
// HAProxy wants both in the first.
func (p *proxy) certify() {
	p.t.Helper()
	made, err := certificate.Make(p.dir, []string{"127.0.0.1"})
	if err != nil {
		p.t.Fatal(err)
	}
	file := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		return b
	}
	p.roots = x509.NewCertPool()
	p.roots.AppendCertsFromPEM(file(made.CA))
	key := file(made.Key)
	for name, b := range map[string][]byte{"gateway.pem": append(file(made.Cert), key...), "gateway-key.pem": key} {
		if err := os.WriteFile(filepath.Join(p.dir, name), b, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// route is one way through a proxy to a gateway.
type route struct {
	*gateway      // its url is the proxy's, with the prefix
	http2    bool // over TLS
	duplex   duplex
	dialer   http.Client // for the WebSocket's handshake
}

// route is g as it is seen through the proxy from 127.0.0.2, which is not an
// address that the gateway trusts.
func (p *proxy) route(t *testing.T, g *gateway, prefix string, http2 bool) *route {
	t.Helper()
	scheme, addr := "http", p.plain
	if http2 {
		scheme, addr = "https", p.secure
	}
	through := *g
	through.t = t
	through.url = fmt.Sprintf("%s://%s%s", scheme, addr, prefix)
	through.ws = through.url + "/ws"
	transport := func(http2 bool) *http.Transport {
		tr := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: p.roots}, ForceAttemptHTTP2: http2, ResponseHeaderTimeout: patience,
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
		}
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	through.client = &http.Client{Transport: transport(http2), Timeout: 2 * patience}
	return &route{gateway: &through, http2: http2, dialer: http.Client{Transport: transport(false)}}
}

// Each proxy, with the file that is shipped, with and without a path of its
// own, over plain HTTP/1.1 and over TLS with HTTP/2.
func TestProxiesCarryEverything(t *testing.T) {
	t.Parallel()
	for _, program := range proxyPrograms {
		for _, prefix := range []string{"", "/mqtt"} {
			t.Run(program.name+prefix, func(t *testing.T) {
				t.Parallel()
				env := map[string]string{"GATEWAY_TRUSTED_PROXIES": "127.0.0.1/32", "GATEWAY_ALLOWED_HOSTS": "gateway.example"}
				if prefix != "" {
					env["GATEWAY_BASE_PATH"] = prefix
				}
				g := startBuiltIn(t, env)
				p := startProxy(t, program, g)
				for i, name := range []string{"http1", "http2"} {
					for _, c := range proxyCases {
						t.Run(name+"/"+c.name, func(t *testing.T) {
							r := p.route(t, g, prefix, name == "http2")
							r.duplex = program.duplex[i]
							c.run(r)
						})
					}
				}
			})
		}
	}
}

// Behind a proxy nobody becomes somebody by a header.
func TestProxiesTakeNamesAway(t *testing.T) {
	t.Parallel()
	for _, program := range proxyPrograms {
		t.Run(program.name, func(t *testing.T) {
			t.Parallel()
			env, _ := withAccess(t, accessRules("roles:\n  viewers: {subscribe: [\"#\"]}\n"))
			env["GATEWAY_AUTH"], env["GATEWAY_TRUSTED_PROXIES"] = "header", "127.0.0.1/32"
			g := start(t, env)
			g.waitReady(http.StatusOK)
			r := startProxy(t, program, g).route(t, g, "", false)
			for name, header := range map[string]map[string]string{
				"as they are":      {"Remote-User": "pi-3", "Remote-Groups": "viewers"},
				"in other letters": {"remote-user": "pi-3", "REMOTE-GROUPS": "viewers"},
			} {
				direct := g.do(request{method: "GET", path: "/auth/whoami", header: header})
				if !strings.Contains(direct.body, `"principal":"pi-3"`) {
					t.Fatalf("from the proxy's address: got %d %s, want pi-3", direct.status, direct.body)
				}
				got := r.do(request{method: "GET", path: "/auth/whoami", header: header})
				if strings.Contains(got.body, "pi-3") {
					t.Errorf("%s: got %d %s, want nobody", name, got.status, got.body)
				}
			}
		})
	}
}
