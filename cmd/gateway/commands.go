package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/config"
)

// usageError is a mistake in the command line or the configuration: exit
// status 2.
type usageError struct{ error }

// commands is the whole command line: kong reads it into this.
type commands struct {
	Help    helpFlag    `short:"h" help:"Say how it is used."`
	Version versionFlag `short:"v" help:"Print the version."`

	Serve   serveCommand   `cmd:"" default:"1" help:"run the gateway (the default)"`
	Check   checkCommand   `cmd:"" help:"check the configuration, reach the broker, say what was found"`
	Health  healthCommand  `cmd:"" help:"ask the running gateway whether it is ready, for health checks"`
	Broker  brokerCommand  `cmd:"" help:"run only the built-in MQTT broker"`
	LAN     lanCommand     `cmd:"" name:"lan" help:"print this machine's LAN address, or put it into a settings.ini or a mosquitto configuration"`
	Key     keyCommands    `cmd:"" help:"make a key for a principal, and its entry for the access file"`
	Cert    certCommands   `cmd:"" help:"make a private CA and a certificate for this machine"`
	Release versionCommand `cmd:"" name:"version" help:"print the version"`

	Pub        cli.Pub        `cmd:"" help:"publish a message, and say what is known of it"`
	Sub        cli.Sub        `cmd:"" help:"print messages as they come"`
	Get        cli.Get        `cmd:"" help:"print the newest value of a topic"`
	Request    cli.Request    `cmd:"" help:"publish a command, and print the device's reply"`
	Record     cli.Record     `cmd:"" help:"write messages with their times to standard output"`
	Replay     cli.Replay     `cmd:"" help:"publish a recording in its own time"`
	Clear      cli.Clear      `cmd:"" help:"say which retained messages match, and clear them"`
	Export     cli.Export     `cmd:"" help:"write a tree of topics with their values to standard output"`
	Import     cli.Import     `cmd:"" help:"publish an exported tree"`
	Devices    cli.Devices    `cmd:"" help:"print which devices are at the broker"`
	Completion cli.Completion `cmd:"" help:"print what a shell reads to complete this program's words"`
	Complete   cli.Complete   `cmd:"" hidden:""`
}

// run carries out the command line.
func run(sh *cli.Shell, args []string) error {
	if len(args) > 0 && args[0] == "help" {
		args = append(args[1:len(args):len(args)], "--help")
	}
	parser, err := kong.New(&commands{}, kong.Name("gateway"), kong.NoDefaultHelp(), kong.Bind(sh), kong.KindMapper(reflect.String, kong.MapperFunc(verbatim)))
	if err != nil {
		return err
	}
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name = args[0]
		if !has(parser.Model.Node, name) {
			return usageError{fmt.Errorf("there is no subcommand %q; gateway -h lists them", name)}
		}
	}
	parsed, err := parser.Parse(spelled(parser.Model.Node, args))
	switch {
	case errors.Is(err, errAnswered):
		return nil
	case err != nil:
		return usageError{errors.New(misread(name, err))}
	}
	if usesGateway(parsed.Selected()) {
		endAfterInterrupt(sh.Ctx)
	}
	return parsed.Run(sh, parser)
}

// verbatim takes a word byte for byte; kong's own way makes UTF-8 of it.
func verbatim(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	s, ok := token.Value.(string)
	if !ok {
		return fmt.Errorf("expected a string but got %v", token.Value)
	}
	target.SetString(s)
	return nil
}

func has(node *kong.Node, name string) bool {
	for _, c := range node.Children {
		if c.Name == name {
			return true
		}
	}
	return false
}

// usesGateway tells a command of internal/cli from one that runs the gateway.
func usesGateway(node *kong.Node) bool {
	if node == nil || !node.Target.CanAddr() {
		return false
	}
	_, ok := node.Target.Addr().Interface().(interface{ UsesGateway() })
	return ok
}

// spelled puts a second dash before long flags that have one, as they may have.
func spelled(node *kong.Node, args []string) []string {
	long := map[string]bool{}
	for _, f := range node.Flags {
		long[f.Name] = true
	}
	for _, leaf := range node.Leaves(false) {
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				long[f.Name] = true
			}
		}
	}
	all := append([]string(nil), args...)
	for i, arg := range all {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && len(name) > 1 && long[name] {
			all[i] = "-" + arg
		}
	}
	return all
}

// misread are the words for a command line that cannot be read.
func misread(name string, err error) string {
	text, guess, guessed := strings.Cut(err.Error(), ", did you mean ")
	long := strings.Contains(text, " --")
	if guessed && long {
		text += " (did you mean " + guess + ")"
	}
	if arg, ok := strings.CutPrefix(text, "unexpected argument "); ok {
		text = fmt.Sprintf("%s takes no argument %q", name, arg)
	}
	if missing, ok := strings.CutPrefix(text, "expected "); ok {
		text = name + " needs " + strings.NewReplacer(`"`, "", "<", "", ">", "", " ...", "").Replace(missing)
	}
	if flag, _, ok := strings.Cut(text, ": expected string value but got "); ok {
		text = flag + " needs a value"
	}
	if strings.HasPrefix(text, "unknown flag -") && !long && name == "pub" {
		return text + "; before a payload that begins with a dash write --"
	}
	return fmt.Sprintf("%s; gateway %s -h lists the flags", text, name)
}

// errAnswered ends the reading of a command line that asked only for words.
var errAnswered = errors.New("answered")

type versionFlag bool

// BeforeReset prints the version.
func (versionFlag) BeforeReset(sh *cli.Shell) error {
	_ = (&versionCommand{}).Run(sh) // as for any print, there is nobody to tell
	return errAnswered
}

// IgnoreDefault: it is no flag of serve.
func (versionFlag) IgnoreDefault() {}

type helpFlag bool

// BeforeReset explains the command that was named, or all.
func (helpFlag) BeforeReset(sh *cli.Shell, ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil || node.Name == "serve" && len(ctx.Args) > 0 && ctx.Args[0] != "serve" {
		cli.List(sh.Stdout, ctx.Model.Node, usesGateway)
		fmt.Fprint(sh.Stdout, "\nThe gateway is configured by its environment:\n\n")
		config.Usage(sh.Stdout)
	} else {
		cli.Explain(sh.Stdout, node)
	}
	return errAnswered
}

// IgnoreDefault: without a subcommand it explains all.
func (helpFlag) IgnoreDefault() {}

// load reads the configuration.
func load() (*config.Config, []string, error) {
	cfg, notices, err := config.Load()
	if err != nil {
		return nil, nil, usageError{err}
	}
	return cfg, notices, nil
}
