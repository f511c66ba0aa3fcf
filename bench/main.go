// Command bench measures the gateway beside its rivals on this machine, in one
// run, and prints ratios. README.md has the method; rows.go lists what is
// measured, and each measurement stands in a file of its own.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == serveChiArg {
		exit(serveChi(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 7 && os.Args[1] == misbehaveArg {
		exit(misbehave(os.Args[2:]))
	}
	if len(os.Args) == 5 && os.Args[1] == serveUserArg {
		exit(serveUser(os.Args[2], os.Args[3], os.Args[4]))
	}
	o, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o, os.Stdout)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the command line says.
type options struct {
	gateway, nats     string
	only              []string
	time              time.Duration // of one round
	rounds            int
	growth, quick     bool
	out, docs, readme string
}

func parseFlags(args []string) (options, error) {
	var o options
	var only string
	var seconds float64
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.gateway, "gateway", "../bin/gateway", "gateway binary")
	fs.StringVar(&o.nats, "nats", "../bin/tools/nats-server", "nats-server binary; left out if there is none")
	fs.StringVar(&only, "only", "", "measure only these, with commas: "+strings.Join(names(), ", "))
	fs.Float64Var(&seconds, "seconds", 3, "length of one round")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds of each contestant, in turn; the median counts")
	fs.BoolVar(&o.growth, "growth", false, "measure the growth tables, too")
	fs.BoolVar(&o.quick, "quick", false, "a smoke run of everything with small numbers, in less than a minute")
	fs.StringVar(&o.out, "out", "", "write the tables to this Markdown file")
	fs.StringVar(&o.docs, "docs", "", "rewrite the tables of performance.md in this directory, and the plots below it; not with -only")
	fs.StringVar(&o.readme, "readme", "", "with -docs: rewrite the headlines in this file")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if only != "" {
		o.only = strings.Split(only, ",")
		for _, name := range o.only {
			if !known(name) {
				return o, fmt.Errorf("-only %s: there is no such measurement; there are %s", name, strings.Join(names(), ", "))
			}
		}
	}
	if o.docs != "" && len(o.only) > 0 {
		return o, errors.New("-docs needs a whole run: its tables are of one run")
	}
	o.time = time.Duration(seconds * float64(time.Second))
	if o.quick {
		o.time, o.rounds, o.growth = 100*time.Millisecond, 1, true
	}
	if o.time <= 0 || o.time > time.Minute || o.rounds < 1 || o.rounds > 100 {
		return o, errors.New("-seconds must be above 0 and at most 60, -rounds 1 to 100")
	}
	return o, absolute(&o.gateway, &o.nats)
}

// absolute makes paths independent of the directory that a server starts in.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
