package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Usage writes every variable with its default and meaning as plain text.
func Usage(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIABLE\tDEFAULT\tMEANING")
	for _, v := range variables() {
		fmt.Fprintf(table, "%s\t%s\t%s\n", v.name, orNone(v.def), v.meaning())
	}
	_ = table.Flush() // as for any print to a terminal, there is nobody to tell
}

// Markdown returns the same as a Markdown table.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	for _, v := range variables() {
		def := orNone(v.def)
		if v.def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.name, def, strings.ReplaceAll(v.meaning(), "|", `\|`))
	}
	return b.String()
}

func orNone(def string) string {
	if def == "" {
		return "not set"
	}
	return def
}

// meaning is the description with the range, if there is one.
func (v variable) meaning() string {
	if v.min == "" {
		return v.desc
	}
	return fmt.Sprintf("%s From %s to %s.", v.desc, v.min, v.max)
}
