package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/cli"
)

// keyCommands is `gateway key`.
type keyCommands struct {
	New keyCommand `cmd:"" help:"make a key for a principal, and its entry for the access file"`
}

// keyCommand is `gateway key new NAME`: it prints a new key, once, and its entry
// for the access file, or adds the entry to the file.
type keyCommand struct {
	Publish   []string `sep:"none" placeholder:"FILTER" help:"Filter of topics that the principal may publish to; may be given several times, as the next three."`
	Retain    []string `sep:"none" placeholder:"FILTER" help:"Filter of those on which it may retain, and clear."`
	Subscribe []string `sep:"none" placeholder:"FILTER" help:"Filter that it may read."`
	Deny      []string `sep:"none" placeholder:"FILTER" help:"Filter that it may neither publish to nor read."`
	Operator  bool     `help:"The principal is an operator."`
	Expires   expiry   `placeholder:"WHEN" help:"When the key ends: a time such as 2027-01-01T00:00:00Z, or from now on 90d or 12h."`
	Append    string   `placeholder:"FILE" help:"Add the entry to this access file, instead of printing it."`
	Name      string   `arg:"" help:"Name of the principal."`
}

// expiry is when a key ends.
type expiry struct{ time.Time }

// UnmarshalText reads a time, or how long from now on.
func (e *expiry) UnmarshalText(b []byte) (err error) {
	e.Time, err = parseExpiry(string(b), time.Now())
	return err
}

// Run makes the key.
func (c *keyCommand) Run(sh *cli.Shell) error {
	entry := access.Entry{Name: c.Name, Expires: c.Expires.Time}
	entry.Grants.Publish, entry.Grants.Retain, entry.Grants.Subscribe, entry.Grants.Deny = c.Publish, c.Retain, c.Subscribe, c.Deny
	entry.Grants.Operator = c.Operator
	key := access.NewKey()
	entry.Key = access.DigestOf(key)
	if err := entry.Check(); err != nil {
		return usageError{err}
	}
	if c.Append != "" {
		if err := access.AppendEntry(c.Append, entry); err != nil {
			return err
		}
		fmt.Fprintln(sh.Stdout, key)
		return nil
	}
	fmt.Fprintf(sh.Stdout, "%s\n\nprincipals:\n%s", key, entry.YAML(2))
	return nil
}

// parseExpiry reads a time, or how long from now on.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		if !t.After(now) {
			return time.Time{}, errors.New("that is in the past")
		}
		return t, nil
	}
	d, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16) // more is beyond a Duration
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > 100*366*24*time.Hour {
		return time.Time{}, errors.New("write a time such as 2027-01-01T00:00:00Z, or 90d, or 12h")
	}
	return now.Add(d).Truncate(time.Second), nil
}
