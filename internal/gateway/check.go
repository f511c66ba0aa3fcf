package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/embedded"
)

// checkTime is how long Check waits for a broker that does not answer.
const checkTime = 10 * time.Second

// Check tells on stdout what a gateway with this configuration would find, and
// reaches the broker; the error says why it would not be ready. A mistake in a
// file is a [ConfigError].
func Check(ctx context.Context, cfg *config.Config, stdout io.Writer) error {
	rules, err := decoders(cfg)
	if err != nil {
		return err
	}
	values, err := openValues(cfg, slog.New(slog.DiscardHandler), rules)
	if err != nil {
		return err
	}
	t, err := brokerTLS(cfg)
	if err != nil {
		return err
	}
	if _, err := openCertificates(cfg); err != nil {
		return err
	}
	if err := checkAudit(cfg.AuditLog); err != nil {
		return err
	}
	callers, err := openAccess(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer callers.Close()
	fmt.Fprintf(stdout, "configuration: ok\npublic listener: %s\nadmin listener: %s\n", cfg.HTTPAddr, cfg.AdminAddr)
	for _, place := range [][2]string{{"GATEWAY_HTTP_ADDR", cfg.HTTPAddr}, {"GATEWAY_ADMIN_ADDR", cfg.AdminAddr}} {
		l, err := listen(ctx, place[0], place[1])
		if err != nil { // perhaps the gateway runs already
			fmt.Fprintf(stdout, "note: %s\n", err)
			continue
		}
		l.Close()
	}
	if rules != nil {
		fmt.Fprintf(stdout, "decoders: %d\n", rules.Len())
	}
	if values != nil {
		fmt.Fprintf(stdout, "value metrics: %d\n", len(values.Filters()))
	}
	if cfg.AccessFile != "" {
		fmt.Fprintf(stdout, "access file: %d principals\n", len(callers.Accounts()))
	}
	broker, isEmbedded := cfg.Broker()
	if isEmbedded {
		l, err := embedded.Listen(cfg.EmbeddedAddr)
		if err != nil {
			return fmt.Errorf("GATEWAY_EMBEDDED_ADDR: %w", err)
		}
		l.Close()
		kept := "in memory"
		if cfg.EmbeddedDir != "" {
			if err := canWriteTo(cfg.EmbeddedDir); err != nil {
				return fmt.Errorf("GATEWAY_EMBEDDED_DIR: %w", err)
			}
			kept = "in " + cfg.EmbeddedDir
		}
		fmt.Fprintf(stdout, "broker: none is configured; the built-in one would run on %s and keep its messages %s\n", cfg.EmbeddedAddr, kept)
		return nil
	}
	if err := findBroker(ctx, cfg, broker); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "broker: %s\n", broker.Redacted())
	conf := bridgeConfig(cfg, broker, t, slog.New(slog.DiscardHandler), ignore{})
	conf.ClientID = "" // a check must not take over a running gateway's session
	told := askForLog(cfg, &conf)
	link := bridge.New(conf)
	hasLog := false
	status := reach(ctx, link, checkTime, func(ctx context.Context) { hasLog = told != nil && hearsLog(ctx, link, conf, told) })
	if !status.Publish || !status.Subscribe {
		if hint := addressHint(ctx, cfg, broker); hint != "" {
			return fmt.Errorf("the broker cannot be used: %s; %s", status.Err, hint)
		}
		return fmt.Errorf("the broker cannot be used: %s", status.Err)
	}
	fmt.Fprintln(stdout, "broker connection: ok, publishing and subscribing work")
	found := link.Stats()
	fmt.Fprintf(stdout, "MQTT version: %s\nsubscribes at: QoS %d\n", spoken(found.Version), found.SubscribeQoS)
	if status.Warning != "" {
		fmt.Fprintf(stdout, "warning: %s\n", status.Warning)
	}
	if len(status.SubscribeRefused) > 0 {
		fmt.Fprintf(stdout, "warning: the broker refuses filters: %s\n", strings.Join(status.SubscribeRefused, ", "))
	}
	if said := presence(cfg, hasLog); said != "" {
		fmt.Fprintf(stdout, "device presence: %s\n", said)
	}
	return nil
}

// canWriteTo says what keeps a start from writing to a directory, or from making
// it, and leaves nothing there.
func canWriteTo(dir string) error {
	at := filepath.Clean(dir)
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	f, err := os.CreateTemp(at, ".gateway-check-")
	if err != nil {
		return cannotWrite(at, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// reach runs the link until it is up, and has tried to send a message to itself,
// until it is refused, or for most. Then is called while it is up.
func reach(ctx context.Context, link *bridge.Bridge, most time.Duration, then func(context.Context)) bridge.Status {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = link.Run(ctx)
	}()
	status := link.Status()
	for {
		changed := link.Changed()
		if now := link.Status(); ctx.Err() == nil { // else it may only say that the time is over
			status = now
		}
		if up := status.Publish && status.Subscribe; up && status.Tested || status.Refused || ctx.Err() != nil {
			if up {
				then(ctx)
			}
			cancel()
			<-done
			return status
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// ignore is a receiver for those who only want to know whether it works.
type ignore struct{}

func (ignore) Message(bridge.Message)  {}
func (ignore) Rest()                   {}
func (ignore) Up(bool)                 {}
func (ignore) Down(error)              {}
func (ignore) Dropped(bool, time.Time) {}
