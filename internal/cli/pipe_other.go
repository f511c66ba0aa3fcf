//go:build !unix

package cli

// endWithPipe: the next write finds out.
func (sh *Shell) endWithPipe() {}
