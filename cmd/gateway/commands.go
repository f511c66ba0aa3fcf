package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/vulturepi/gateway/internal/config"
)

// usageError is a mistake in the command line or the configuration: exit
// status 2.
type usageError struct{ error }

// command is one subcommand.
type command struct {
	name, meaning string
	run           func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "run the gateway (the default)", serveCommand},
		{"check", "check the configuration, reach the broker, say what was found", checkCommand},
		{"health", "ask the running gateway whether it is ready, for health checks", healthCommand},
		{"broker", "run only the built-in MQTT broker", brokerCommand},
		{"lan", "print this machine's LAN address, or put it into a settings.ini or a mosquitto configuration", lanCommand},
		{"key", "make a key for a principal, and its entry for the access file", keyCommand},
		{"cert", "make a private CA and a certificate for this machine", certCommand},
		{"version", "print the version", versionCommand},
	}
}

// run carries out the command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if name == "help" || len(args) > 0 && name == "serve" && isHelp(args[0]) {
		usage(stdout)
		return nil
	}
	if len(args) > 0 && name == "serve" && isVersion(args[0]) {
		name, args = "version", nil
	}
	for _, c := range commands() {
		if c.name == name {
			err := c.run(ctx, args, stdin, stdout, stderr)
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	return usageError{fmt.Errorf("there is no subcommand %q; gateway -h lists them", name)}
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

func isVersion(arg string) bool { return arg == "-v" || arg == "-version" || arg == "--version" }

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: gateway [subcommand]\n\nSubcommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.meaning)
	}
	fmt.Fprint(w, "\nThe gateway is configured by its environment:\n\n")
	config.Usage(w)
}

// parseFlags reads the flags of a subcommand, which takes no other arguments.
func parseFlags(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(io.Discard) // which says what is wrong once more
	flags.Usage = func() {}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		explain(flags, stderr)
		return err
	} else if err != nil {
		return usageError{fmt.Errorf("%w; gateway %s -h lists the flags", err, flags.Name())}
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q", flags.Name(), flags.Arg(0))}
	}
	return nil
}

// explain prints what a subcommand is for, and its flags.
func explain(flags *flag.FlagSet, w io.Writer) {
	for _, c := range commands() {
		if c.name == strings.Fields(flags.Name())[0] {
			fmt.Fprintf(w, "Usage: gateway %s\n\n%s%s.\n", flags.Name(), strings.ToUpper(c.meaning[:1]), c.meaning[1:])
		}
	}
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// load reads the configuration for a subcommand without flags.
func load(name string, args []string, stderr io.Writer) (*config.Config, []string, error) {
	if err := parseFlags(flag.NewFlagSet(name, flag.ContinueOnError), args, stderr); err != nil {
		return nil, nil, err
	}
	cfg, notices, err := config.Load()
	if err != nil {
		return nil, nil, usageError{err}
	}
	return cfg, notices, nil
}
