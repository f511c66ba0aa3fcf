package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/lan"
	"github.com/vulturepi/gateway/internal/mdns"
)

// findTime is how long the local network is asked for a broker.
const findTime = 10 * time.Second

// findBroker fills in the address of a broker that is to be found.
func findBroker(ctx context.Context, cfg *config.Config, broker *url.URL) error {
	port, ok := cfg.FindBroker()
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	host, err := mdns.Find(limited, mdns.MQTT, port)
	if err != nil {
		on := ""
		if port != 0 {
			on = fmt.Sprintf(", mqtt_port = %d", port)
		}
		return fmt.Errorf("GATEWAY_SETTINGS_FILE: %q: ip_address = auto%s: the local network was asked for a broker (mDNS, %s): %w; write the broker's address, or start one with gateway broker --lan", cfg.SettingsFile, on, mdns.MQTT, err)
	}
	broker.Host = host
	return nil
}

// announce tells the local network what listens beyond loopback, and returns
// what ends that.
func announce(cfg *config.Config, log *slog.Logger, at Addresses, broker *url.URL, isEmbedded bool) (end func()) {
	if !cfg.MDNS {
		return func() {}
	}
	var services []mdns.Service
	add := func(kind, what, addr, path string) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return
		}
		s := mdns.Service{Type: kind, Instance: mdns.Instance(what + " " + port), Path: path}
		s.Addr, _ = netip.ParseAddr(host)
		s.Port, _ = strconv.Atoi(port)
		if !s.Addr.IsLoopback() {
			services = append(services, s)
		}
	}
	add(mdns.HTTP, "Vulture Gateway", at.HTTP, "/")
	if isEmbedded {
		add(mdns.MQTT, "Vulture broker", broker.Host, "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var announcing sync.WaitGroup
	announcing.Go(func() { mdns.Announce(ctx, log, mdns.Every, services...) })
	return func() { cancel(); announcing.Wait() }
}

// allowedHosts also has the name under which the gateway is announced.
func allowedHosts(cfg *config.Config) []string {
	if !cfg.MDNS {
		return cfg.AllowedHosts
	}
	return append(slices.Clone(cfg.AllowedHosts), mdns.HostName())
}

// addressHint is what may be wrong with the address of a broker that does not
// answer, "" when there is nothing to say.
func addressHint(ctx context.Context, cfg *config.Config, broker *url.URL) string {
	all, err := lan.Interfaces()
	if err != nil {
		return ""
	}
	hint := lan.Hint(all, broker.Hostname(), func(ip string) string {
		if cfg.MQTTURL == "" {
			return fmt.Sprintf("run `gateway lan --write %s` and start the gateway again", cfg.SettingsFile)
		}
		repaired := *broker
		repaired.Host = net.JoinHostPort(ip, broker.Port())
		return fmt.Sprintf("set GATEWAY_MQTT_URL=%s", repaired.Redacted())
	})
	if hint == "" || answers(ctx, broker.Host) {
		return ""
	}
	return hint
}

// answers is true when somebody listens there.
func answers(ctx context.Context, hostPort string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// hintAddress logs the hint while the broker does not answer, once for each
// outage, until ctx ends.
func hintAddress(ctx context.Context, cfg *config.Config, broker *url.URL, link Broker, log *slog.Logger) {
	said := ""
	for {
		changed := link.Changed()
		status := link.Status()
		if status.Publish && status.Subscribe {
			said = ""
		} else if status.Err != "" {
			if hint := addressHint(ctx, cfg, broker); hint != "" && hint != said {
				log.Warn("the broker's address may be an old one", "hint", hint)
				said = hint
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
