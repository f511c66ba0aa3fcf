package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is gateway completion.
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints what the shell has to read, so that Tab completes commands, flags
// and their values.
func (c *Completion) Run(sh *Shell) error { return sh.write([]byte(scripts[c.Shell])) }

// The scripts ask the program itself, so they do not age.
var scripts = map[string]string{
	"bash": `# gateway completion bash > ~/.local/share/bash-completion/completions/gateway
_gateway() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _gateway gateway
`,
	"zsh": `#compdef gateway
# gateway completion zsh > a file _gateway in a directory of $fpath
_gateway() {
	local -a found
	local name help
	while IFS=$'\t' read -r name help; do
		found+=("${name//:/\\:}:$help")
	done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	if (( ${#found} )); then
		_describe gateway found
	else
		_files
	fi
}
if [ "$funcstack[1]" = _gateway ]; then _gateway "$@"; else compdef _gateway gateway; fi
`,
	"fish": `# gateway completion fish > ~/.config/fish/completions/gateway.fish
complete -c gateway -a '(gateway complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

// Complete is what the scripts ask: which words may stand in the place of the
// last one. It prints them a line, with their meaning behind a tab.
type Complete struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints the words.
func (c *Complete) Run(sh *Shell, k *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	var out strings.Builder
	for _, w := range candidates(k.Model.Node, words) {
		fmt.Fprintf(&out, "%s\t%s\n", w.text, w.meaning)
	}
	return sh.write([]byte(out.String()))
}

// candidate is a word that may stand there.
type candidate struct{ text, meaning string }

func candidates(node *kong.Node, words []string) []candidate {
	partial := ""
	if len(words) > 0 {
		partial, words = words[len(words)-1], words[:len(words)-1]
	}
	var wants *kong.Flag // the value comes next
	args := 0            // that have been given
	for _, w := range words {
		switch {
		case wants != nil:
			wants = nil
		case strings.HasPrefix(w, "-"):
			if f := flagOf(node, w); f != nil && !f.IsBool() && !strings.Contains(w, "=") {
				wants = f
			}
		default:
			if c := child(node, w); c != nil {
				node = c
			} else {
				args++
			}
		}
	}
	var all []candidate
	switch {
	case wants != nil:
		all = values(wants.Value)
	case strings.HasPrefix(partial, "-"):
		for _, f := range flags(node) {
			all = append(all, candidate{"--" + f.Name, sentence(f.Help)})
		}
	case len(node.Children) > 0:
		for _, c := range node.Children {
			if !c.Hidden {
				all = append(all, candidate{c.Name, sentence(c.Help)})
			}
		}
	case args < len(node.Positional):
		all = values(node.Positional[args])
	}
	var found []candidate
	for _, c := range all {
		if strings.HasPrefix(c.text, partial) {
			found = append(found, c)
		}
	}
	return found
}

// sentence is the first one.
func sentence(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(first, ".")
}

// values are those of a value that has few.
func values(v *kong.Value) []candidate {
	var all []candidate
	for _, s := range v.EnumSlice() {
		if s != "" {
			all = append(all, candidate{s, ""})
		}
	}
	return all
}

func child(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// flags are those that a command takes.
func flags(node *kong.Node) []*kong.Flag {
	var all []*kong.Flag
	for _, group := range node.AllFlags(true) {
		all = append(all, group...)
	}
	return all
}

func flagOf(node *kong.Node, word string) *kong.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, f := range flags(node) {
		if f.Name == name || f.Short != 0 && string(f.Short) == name {
			return f
		}
	}
	return nil
}
