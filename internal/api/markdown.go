package api

import (
	"html/template"
	"regexp"
	"strings"
)

// markdown turns the little that the documents' descriptions use into HTML:
// headings, paragraphs, lists, tables, blocks of code, code, links.
func markdown(text string) template.HTML {
	var b strings.Builder
	fenced := false
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(block, "\n")
		switch {
		case block == "":
		case strings.HasPrefix(block, "```") || fenced:
			if !fenced {
				b.WriteString("<pre>")
				lines = lines[1:]
			}
			fenced = lines[len(lines)-1] != "```"
			if !fenced {
				lines = lines[:len(lines)-1]
			}
			b.WriteString(template.HTMLEscapeString(strings.Join(lines, "\n")))
			if fenced {
				b.WriteString("\n\n")
			} else {
				b.WriteString("</pre>\n")
			}
		case strings.HasPrefix(block, "#"):
			b.WriteString("<h2>" + inline(strings.TrimLeft(block, "# ")) + "</h2>\n")
		case strings.HasPrefix(block, "- "):
			b.WriteString("<ul>\n")
			for _, item := range strings.Split("\n"+block, "\n- ")[1:] {
				b.WriteString("<li>" + inline(item) + "</li>\n")
			}
			b.WriteString("</ul>\n")
		case strings.HasPrefix(block, "|"):
			b.WriteString("<table>\n")
			for i, line := range lines {
				if i == 1 { // the rule
					continue
				}
				kind := "td"
				if i == 0 {
					kind = "th"
				}
				b.WriteString("<tr>")
				for _, cell := range strings.Split(strings.Trim(line, "| "), " | ") {
					b.WriteString("<" + kind + ">" + inline(cell) + "</" + kind + ">")
				}
				b.WriteString("</tr>\n")
			}
			b.WriteString("</table>\n")
		default:
			b.WriteString("<p>" + inline(block) + "</p>\n")
		}
	}
	return template.HTML(b.String()) //nolint:gosec // of the gateway's own documents, and escaped
}

var (
	codeMark = regexp.MustCompile("`([^`]+)`")
	linkMark = regexp.MustCompile(`\[([^\]]+)\]\((https?://[^)\s]+)\)`)
	boldMark = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

func inline(text string) string {
	text = template.HTMLEscapeString(text)
	text = boldMark.ReplaceAllString(text, "<b>$1</b>")
	text = linkMark.ReplaceAllString(text, `<a href="$2">$1</a>`)
	return codeMark.ReplaceAllString(text, "<code>$1</code>")
}
