package cli

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Devices is gateway devices.
type Devices struct {
	Gateway `embed:""`
	State   string `enum:",online,offline,unknown" default:"" placeholder:"STATE" help:"Only those that are online, offline or unknown."`
	JSON    bool   `name:"json" help:"One JSON object a line."`
	ID      string `arg:"" optional:"" help:"Only this device."`
}

// Run prints who is at the broker.
func (c *Devices) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Devices) run(sh *Shell) error {
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return err
	}
	defer g.Close()
	var all []*wire.Device
	if c.ID != "" {
		d, err := g.Device(sh.Ctx, c.ID)
		if err != nil {
			return err
		}
		all = append(all, d)
	} else {
		for d, err := range g.Devices(sh.Ctx, c.State) {
			if err != nil {
				return err
			}
			all = append(all, d)
		}
	}
	var out bytes.Buffer
	switch {
	case c.JSON:
		for _, d := range all {
			out.Write(append(wire.Encode(d), '\n'))
		}
		return sh.writeJSON(out.Bytes())
	case isTerminal(sh.Stdout):
		table(sh, &out, all)
	default:
		rows(&out, all)
	}
	return sh.write(out.Bytes())
}

// rows are for programs.
func rows(out *bytes.Buffer, all []*wire.Device) {
	for _, d := range all {
		fmt.Fprintln(out, strings.Join([]string{printable(d.ID), printable(d.State), stamp(d.Since), stamp(d.LastSeen), printable(d.Address), printable(d.Reason)}, "\t"))
	}
}

// stamp is a time for programs.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// table is for people.
func table(sh *Shell, out *bytes.Buffer, all []*wire.Device) {
	if len(all) == 0 {
		out.WriteString("the gateway has heard of no device\n")
		return
	}
	var plain bytes.Buffer
	w := tabwriter.NewWriter(&plain, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSTATE\tSINCE\tLAST SEEN\tADDRESS\tREASON")
	for _, d := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(d.ID), printable(d.State), ago(d.Since), ago(d.LastSeen), printable(d.Address), printable(d.Reason))
	}
	_ = w.Flush() // into memory
	colours := map[string]style{"online": green, "offline": red}
	for i, line := range strings.Split(strings.TrimSuffix(plain.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		switch {
		case i == 0:
			line = paint(sh.Stdout, dim, line)
		default:
			id, state := printable(all[i-1].ID), printable(all[i-1].State)
			at := len(id) + strings.Index(line[len(id):], state)
			line = line[:at] + paint(sh.Stdout, colours[state], state) + line[at+len(state):]
		}
		out.WriteString(line + "\n")
	}
}

// ago is how long ago something was, roughly.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}
