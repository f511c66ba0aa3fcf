package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/access"
)

// keyCommand is `gateway key new NAME`: it prints a new key, once, and its entry
// for the access file, or adds the entry to the file.
func keyCommand(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "new" {
		return usageError{errors.New("write: gateway key new NAME [--publish FILTER] [--subscribe FILTER] [--retain FILTER] [--deny FILTER] [--operator] [--expires 90d] [--append FILE]")}
	}
	entry := access.Entry{}
	flags := flag.NewFlagSet("key new", flag.ContinueOnError)
	flags.SetOutput(stderr)
	filters := func(name, meaning string, into *[]string) {
		flags.Func(name, meaning+"; may be given several times", func(s string) error {
			*into = append(*into, s)
			return nil
		})
	}
	filters("publish", "`filter` of topics that the principal may publish to", &entry.Grants.Publish)
	filters("retain", "`filter` of those on which it may retain, and clear", &entry.Grants.Retain)
	filters("subscribe", "`filter` that it may read", &entry.Grants.Subscribe)
	filters("deny", "`filter` that it may neither publish to nor read", &entry.Grants.Deny)
	flags.BoolVar(&entry.Grants.Operator, "operator", false, "the principal is an operator")
	flags.Func("expires", "when the key ends: a `time` such as 2027-01-01T00:00:00Z, or from now on 90d or 12h", func(s string) (err error) {
		entry.Expires, err = parseExpiry(s, time.Now())
		return err
	})
	file := flags.String("append", "", "add the entry to this access `file`, instead of printing it")
	names, err := parseAround(flags, args[1:])
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return usageError{errors.New("key new takes one name, that of the principal")}
	}
	entry.Name = names[0]
	key := access.NewKey()
	entry.Key = access.DigestOf(key)
	if err := entry.Check(); err != nil {
		return usageError{err}
	}
	if *file != "" {
		if err := access.AppendEntry(*file, entry); err != nil {
			return err
		}
		fmt.Fprintln(stdout, key)
		return nil
	}
	fmt.Fprintf(stdout, "%s\n\nprincipals:\n%s", key, entry.YAML(2))
	return nil
}

// parseAround parses flags that may stand before and behind the arguments.
func parseAround(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		if args = flags.Args(); len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

// parseExpiry reads a time, or how long from now on.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > 100*366*24*time.Hour {
		return time.Time{}, errors.New("write a time such as 2027-01-01T00:00:00Z, or 90d, or 12h")
	}
	return now.Add(d).Truncate(time.Second), nil
}
