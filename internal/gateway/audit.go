package gateway

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// auditLog is where the lines of GATEWAY_AUDIT_LOG go.
type auditLog struct {
	*Log  // nil: there is none
	file  *auditFile
	lines *slog.Logger // nil: likewise
}

// openAudit opens the audit log, if there is to be one. What becomes of its file
// is told to log.
func openAudit(path string, stdout io.Writer, log *slog.Logger) (*auditLog, error) {
	switch path {
	case "":
		return &auditLog{}, nil
	case "stdout":
		log := NewLog("json", "info", stdout)
		return &auditLog{Log: log, lines: log.Logger}, nil
	}
	file := &auditFile{path: path, log: log}
	if err := file.reopen(); err != nil {
		return nil, ConfigError{fmt.Errorf("GATEWAY_AUDIT_LOG: %w", err)}
	}
	audit := NewLog("json", "info", file)
	return &auditLog{Log: audit, file: file, lines: audit.Logger}, nil
}

// checkAudit says what openAudit would. It makes no file: that is for the user
// whom the gateway runs as.
func checkAudit(path string) error {
	if path == "" || path == "stdout" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = os.Stat(filepath.Dir(path))
	case err == nil && (info.Mode().IsRegular() || info.IsDir()):
		var file *os.File
		if file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
			return file.Close()
		}
	}
	if err != nil {
		return ConfigError{fmt.Errorf("GATEWAY_AUDIT_LOG: %w", cannotWrite(path, err))}
	}
	return nil
}

func cannotWrite(path string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, syscall.ENXIO) {
		err = errors.New("it is a pipe that nobody reads")
	}
	return fmt.Errorf("cannot write %q: %w", path, err)
}

// reopen goes on in the file that has the path now: another one, if somebody
// has moved it away.
func (a *auditLog) reopen(log *slog.Logger) {
	if a.file == nil {
		return
	}
	a.Flush(logFlush) // what was said before stands in the old file
	if err := a.file.reopen(); err != nil {
		log.Error("the audit log cannot be opened anew, and goes on in the old file", "err", err)
	}
}

// close writes what waits, and ends.
func (a *auditLog) close() {
	if a.Log == nil {
		return
	}
	a.Close()
	if a.file != nil {
		a.file.close()
	}
}

// auditFile is a file that can be opened anew. Any goroutine may use it. It may
// be a pipe: nothing waits for its reader but Write, which ends when another
// file is opened or this one closed.
type auditFile struct {
	path string
	log  *slog.Logger
	file atomic.Pointer[os.File]
	full atomic.Bool // the last write has failed
}

func (f *auditFile) reopen() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return cannotWrite(f.path, err)
	}
	if old := f.file.Swap(file); old != nil {
		_ = old.Close()
	}
	return nil
}

// Write implements io.Writer.
func (f *auditFile) Write(p []byte) (done int, err error) {
	for {
		file := f.file.Load()
		n, err := file.Write(p[done:])
		if done += n; !errors.Is(err, os.ErrClosed) || file == f.file.Load() {
			f.tell(err)
			return done, err
		} // it goes on in the other file
	}
}

// tell says once that lines are lost, and once that they are not any more.
func (f *auditFile) tell(err error) {
	switch failed := err != nil; {
	case errors.Is(err, os.ErrClosed) || f.full.Swap(failed) == failed:
	case failed:
		f.log.Error("the audit log cannot be written, and its lines are lost", "err", cannotWrite(f.path, err))
	default:
		f.log.Info("the audit log is written again")
	}
}

func (f *auditFile) close() { _ = f.file.Load().Close() }
