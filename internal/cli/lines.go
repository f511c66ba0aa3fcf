package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/vulturepi/gateway/wire"
)

// maxLine bounds a line and a payload: the largest payload that a gateway may be
// set to, escaped, is far below.
const maxLine = 64 << 20

// lineReader reads a file of records.
type lineReader struct {
	name   string
	reader *bufio.Scanner
	close  func() error
}

// openLines opens a file; - is standard input.
func openLines(sh *Shell, file string) (*lineReader, error) {
	var in io.Reader = sh.Stdin
	r := &lineReader{name: file, close: func() error { return nil }}
	if file == "-" {
		r.name = "standard input"
		if isTerminal(sh.Stdin) {
			return nil, usage("give a file, or let one come on standard input")
		}
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, failed("%v", err)
		}
		in, r.close = f, f.Close
	}
	r.reader = bufio.NewScanner(in)
	r.reader.Buffer(make([]byte, 64<<10), maxLine)
	return r, nil
}

// records are the messages of the file. Its gaps are said, and left out.
func (r *lineReader) records(sh *Shell) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		n := 0
		for r.reader.Scan() {
			n++
			line := r.reader.Bytes()
			if len(line) == 0 {
				continue
			}
			rec, err := parseRecord(line)
			if err != nil {
				yield(nil, failed("%s, line %d: %v", r.name, n, err))
				return
			}
			if rec.Type == wire.TypeGap {
				sh.note("line %d: the recording has a gap here (%s)", n, rec.Reason)
				continue
			}
			if !yield(rec, nil) {
				return
			}
		}
		if err := r.reader.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(nil, failed("%s, line %d: it is longer than any message", r.name, n+1))
		} else if err != nil {
			yield(nil, failed("%s: %v", r.name, err))
		}
	}
}

// plural is so many of something.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
