package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// List prints the commands: those that run a gateway, and those that use one.
func List(w io.Writer, app *kong.Node, uses func(*kong.Node) bool) {
	fmt.Fprint(w, "Usage: gateway [subcommand]\n\nSubcommands:\n")
	list := func(using bool) {
		var rows [][2]string
		for _, c := range app.Children {
			if !c.Hidden && uses(c) == using {
				rows = append(rows, [2]string{c.Name, c.Help})
			}
		}
		columns(w, rows)
	}
	list(false)
	fmt.Fprint(w, "\nSubcommands that use a running gateway:\n")
	list(true)
	fmt.Fprint(w, "\ngateway SUBCOMMAND -h says more.\n")
}

// Explain prints what a command is for, and what it takes.
func Explain(w io.Writer, node *kong.Node) {
	usage := "Usage: " + node.FullPath()
	for _, a := range node.Positional {
		usage += " " + argument(a)
	}
	var own, reach [][2]string
	for _, f := range node.Flags {
		row := [2]string{flagWords(f), f.Help}
		if f.Group != nil {
			reach = append(reach, row)
		} else if !f.Hidden {
			own = append(own, row)
		}
	}
	if len(own)+len(reach) > 0 {
		usage += " [flags]"
	}
	fmt.Fprintf(w, "%s\n\n%s%s.\n", usage, strings.ToUpper(node.Help[:1]), node.Help[1:])
	if len(node.Children) > 0 {
		var rows [][2]string
		for _, c := range node.Children {
			rows = append(rows, [2]string{c.Name, c.Help})
		}
		section(w, "Subcommands", rows)
	}
	var args [][2]string
	for _, a := range node.Positional {
		if a.Help != "" {
			args = append(args, [2]string{argument(a), a.Help})
		}
	}
	section(w, "Arguments", args)
	section(w, "Flags", own)
	section(w, "Which gateway", reach)
}

func section(w io.Writer, title string, rows [][2]string) {
	if len(rows) > 0 {
		fmt.Fprintf(w, "\n%s:\n", title)
		columns(w, rows)
	}
}

// argument is a positional as a usage line has it.
func argument(a *kong.Positional) string {
	name := strings.ToUpper(a.Name)
	if a.IsSlice() {
		name += "…"
	}
	if !a.Required {
		name = "[" + name + "]"
	}
	return name
}

func flagWords(f *kong.Flag) string {
	words := "    --" + f.Name
	if f.Short != 0 {
		words = "-" + string(f.Short) + ", --" + f.Name
	}
	switch {
	case f.IsBool() && f.Tag.Negatable != "":
		return strings.Replace(words, "--", "--[no-]", 1)
	case f.IsBool():
		return words
	case f.Tag.PlaceHolder != "":
		return words + " " + f.Tag.PlaceHolder
	}
	return words + " " + f.Default
}

// columns prints rows of two columns, the second one wrapped.
func columns(w io.Writer, rows [][2]string) {
	const width, most = 100, 30
	first := 0
	for _, r := range rows {
		first = max(first, min(most, utf8.RuneCountInString(r[0])))
	}
	for _, r := range rows {
		line := fmt.Sprintf("  %-*s ", first, r[0])
		for word := range strings.FieldsSeq(r[1]) {
			if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				fmt.Fprintln(w, line)
				line = strings.Repeat(" ", first+3)
			}
			line += " " + word
		}
		fmt.Fprintln(w, line)
	}
}
